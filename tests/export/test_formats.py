"""What holds for every format: which detectors it takes, and what it says to those it does not."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_lodin.detectors import MSPDetector, ODINDetector
from keras_lodin.export import FORMATS, load_artifact
from keras_lodin.export.outputs import input_name
from keras_lodin.export.rounding_noise import with_rounding_noise
from keras_lodin.export.serving_function import serving_function
from tests.export.networks import FILES


def network(*steps, shape=(8, 8, 3)):
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input(shape)
    for step in steps:
        x = step(x)
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))


def export(detector, format, folder):
    path = folder / FILES[format]
    detector.export(path, format=format, verbose=False)
    return path


def assert_scores_the_same(detector, path):
    low, high = detector.input_range
    shape = (3, *detector.input_shape_with_batch[1:])
    inputs = np.random.default_rng(5).uniform(low, high, shape).astype("float32")
    expected = detector.predict(inputs, verbose=0)
    outputs = load_artifact(path).score(inputs)
    np.testing.assert_allclose(outputs["logits"], expected["logits"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outputs["score"], expected["score"], rtol=1e-4, atol=1e-5)


def over(table, quick):
    """A table's names, of which only some are for the fast run."""
    marks = {name: [] if name in quick else pytest.mark.slow for name in table}
    return [pytest.param(name, marks=marks[name]) for name in table]


# --- Names ---------------------------------------------------------------------------------------

NAMES = {
    "photo": "photo",
    "match": "match",  # no keyword where an argument is named
    "lambda": "images",
    "class": "images",
    "None": "images",
    "self": "images",
    "_hidden": "images",
    "my images": "images",
    "input:0": "images",
    "a.b": "images",
    "x-y": "images",
    "1st": "images",
    "größe": "images",
    "logits": "images",
    "threshold": "images",
    "input_layer_3": "images",
}


@pytest.mark.parametrize("name", NAMES)
def test_an_input_has_a_name_that_every_format_takes(name):
    inputs = keras.Input((5,), name=name)
    assert input_name(MSPDetector(keras.Model(inputs, layers.Dense(4)(inputs)))) == NAMES[name]


@pytest.mark.grid(2)
@pytest.mark.parametrize("name", over(NAMES, ["lambda"]))
@pytest.mark.parametrize(
    "format", ["tf_saved_model", "onnx", pytest.param("litert", marks=pytest.mark.slow)]
)
def test_a_detector_of_such_an_input_is_exported(format, name, tmp_path):
    inputs = keras.Input((5,), name=name)
    detector = MSPDetector(keras.Model(inputs, layers.Dense(4)(inputs)))
    path = export(detector, format, tmp_path)
    assert load_artifact(path).metadata["input_name"] == NAMES[name]
    assert_scores_the_same(detector, path)


# --- Preprocessing inside of a classifier --------------------------------------------------------

PREPROCESSING = {
    "AugMix": lambda: layers.AugMix(),
    "AutoContrast": lambda: layers.AutoContrast(),
    "CenterCrop": lambda: layers.CenterCrop(6, 6),
    "CenterCrop, larger": lambda: layers.CenterCrop(10, 10),
    "CutMix": lambda: layers.CutMix(),
    "Equalization": lambda: layers.Equalization(),
    "MixUp": lambda: layers.MixUp(),
    "Normalization": lambda: layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 2.0, 3.0]),
    "Pipeline": lambda: layers.Pipeline([layers.RandomFlip(), layers.Rescaling(0.5)]),
    "RandAugment": lambda: layers.RandAugment(),
    "RandomBrightness": lambda: layers.RandomBrightness(0.2),
    "RandomColorDegeneration": lambda: layers.RandomColorDegeneration(0.2),
    "RandomColorJitter": lambda: layers.RandomColorJitter(brightness_factor=0.2),
    "RandomContrast": lambda: layers.RandomContrast(0.2),
    "RandomCrop": lambda: layers.RandomCrop(6, 6),
    "RandomElasticTransform": lambda: layers.RandomElasticTransform(),
    "RandomErasing": lambda: layers.RandomErasing(),
    "RandomFlip": lambda: layers.RandomFlip(),
    "RandomGaussianBlur": lambda: layers.RandomGaussianBlur(),
    "RandomGrayscale": lambda: layers.RandomGrayscale(),
    "RandomHue": lambda: layers.RandomHue(0.2),
    "RandomInvert": lambda: layers.RandomInvert(),
    "RandomPerspective": lambda: layers.RandomPerspective(),
    "RandomPosterization": lambda: layers.RandomPosterization(4),
    "RandomRotation": lambda: layers.RandomRotation(0.2),
    "RandomSaturation": lambda: layers.RandomSaturation(0.2),
    "RandomSharpness": lambda: layers.RandomSharpness(0.2),
    "RandomShear": lambda: layers.RandomShear(0.2, 0.2),
    "RandomTranslation": lambda: layers.RandomTranslation(0.2, 0.2),
    "RandomZoom": lambda: layers.RandomZoom(0.2),
    "Rescaling": lambda: layers.Rescaling(0.5),
    "Resizing, bilinear": lambda: layers.Resizing(5, 6),
    "Resizing, nearest": lambda: layers.Resizing(5, 6, interpolation="nearest"),
    "Resizing, bicubic": lambda: layers.Resizing(5, 6, interpolation="bicubic"),
    "Resizing, lanczos3": lambda: layers.Resizing(5, 6, interpolation="lanczos3"),
    "Resizing, antialias": lambda: layers.Resizing(5, 6, antialias=True),
    "Resizing, cropped": lambda: layers.Resizing(6, 4, crop_to_aspect_ratio=True),
    "Resizing, padded": lambda: layers.Resizing(6, 4, pad_to_aspect_ratio=True),
    "Solarization": lambda: layers.Solarization(),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", over(PREPROCESSING, ["AutoContrast"]))
@pytest.mark.parametrize("format", ["onnx", pytest.param("litert", marks=pytest.mark.slow)])
def test_preprocessing_inside_of_a_classifier_is_exported(format, name, tmp_path):
    steps = [
        PREPROCESSING[name](),
        layers.Rescaling(1 / 255),
        layers.Conv2D(4, 3, activation="relu"),
        layers.GlobalAveragePooling2D(),
    ]
    detector = ODINDetector(network(*steps), input_range=(0, 255))
    assert_scores_the_same(detector, export(detector, format, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", pytest.param("litert", marks=pytest.mark.slow)])
def test_area_resizing_is_exported_where_no_gradient_is_asked_for(format, tmp_path):
    classifier = network(layers.Resizing(3, 5, interpolation="area"))
    detector = MSPDetector(classifier)
    assert_scores_the_same(detector, export(detector, format, tmp_path))
    with pytest.raises(ValueError, match=r"cannot trace the detector.*layers all have a gradient"):
        export(ODINDetector(classifier), "tf_saved_model", tmp_path)


# --- SavedModels as layers -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folder of a SavedModel of a network with four outputs."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    inner = network(layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D())
    inner.export(str(folder), verbose=False)
    return str(folder)


@pytest.mark.parametrize(
    ("kind", "above", "format"),
    [
        pytest.param(kind, above, format, marks=[] if quick else pytest.mark.slow)
        for kind in (MSPDetector, ODINDetector)
        for above in ("nothing", "a layer")
        for format in FORMATS
        for quick in [kind is ODINDetector and above == "nothing" and format == "onnx"]
    ],
)
def test_a_classifier_that_is_a_saved_model_is_exported(kind, above, format, saved, tmp_path):
    inputs = keras.Input((8, 8, 3))
    outputs = layers.TFSMLayer(saved, call_endpoint="serve")(inputs)
    if above == "a layer":
        outputs = layers.Dense(5)(layers.Activation("gelu")(outputs))
    detector = kind(keras.Model(inputs, outputs))
    assert_scores_the_same(detector, export(detector, format, tmp_path))


# --- Gradients that are rounding errors ----------------------------------------------------------


def scaled(factor, bias, *steps):
    """A network whose kernels are multiplied by a number, and whose biases are one."""
    classifier = network(*steps, layers.GlobalAveragePooling2D())
    for layer in classifier.layers:
        if layer.weights:
            kernel, old = layer.get_weights()
            layer.set_weights([kernel * factor, np.full_like(old, bias)])
    return classifier


def headed(change, activation="gelu"):
    """A network with another kernel of its last layer."""
    steps = [layers.Conv2D(6, 3, activation=activation), layers.GlobalAveragePooling2D()]
    classifier = network(*steps)
    kernel, bias = classifier.layers[-1].get_weights()
    classifier.layers[-1].set_weights([change(kernel), bias])
    return classifier


def conv(activation):
    return layers.Conv2D(6, 3, padding="same", activation=activation)


def nearly_equal(kernel):
    noise = np.random.default_rng(0).normal(size=kernel.shape)
    return kernel[:, :1] * (1.0 + 1e-7 * noise).astype("float32")


NOISE = {
    "no kernel": lambda: headed(np.zeros_like),
    "equal classes": lambda: headed(lambda kernel: np.repeat(kernel[:, :1], 4, axis=1)),
    "nearly equal classes": lambda: headed(nearly_equal),
    "equal units": lambda: headed(np.ones_like),
    "constant": lambda: scaled(0.0, 0.0, conv("relu")),
    "dead": lambda: scaled(1.0, -100.0, conv("relu")),
    "a signal under a bias": lambda: scaled(1e-6, 1e-3, conv("relu"), conv("relu"), conv("relu")),
    "smooth, under a bias": lambda: scaled(1e-4, 1.0, *(conv("gelu") for _ in range(5))),
    "below float32": lambda: scaled(1e-9, 1e-3, *(conv("gelu") for _ in range(4))),
    "large biases": lambda: scaled(1.0, 1e6, conv("gelu")),
    "saturated": lambda: scaled(1e4, 0.0, conv("tanh")),
    "saturated by biases": lambda: scaled(1.0, 1e3, conv("tanh")),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", over(NOISE, ["a signal under a bias"]))
@pytest.mark.parametrize("format", ["onnx", pytest.param("litert", marks=pytest.mark.slow)])
def test_gradients_that_are_rounding_errors_are_no_fault_of_an_export(format, name, tmp_path):
    assert export(ODINDetector(NOISE[name]()), format, tmp_path).exists()


@pytest.mark.slow
def test_noise_shows_where_numbers_cancel_and_nowhere_else():
    def noise_of(classifier):
        serve = serving_function(ODINDetector(classifier), with_gradient=True)
        inputs = tf.constant(np.random.default_rng(0).uniform(size=(2, 8, 8, 3)), tf.float32)
        threshold = tf.constant(0.0)
        exact = serve(inputs, threshold)["gradient"]
        noisy = with_rounding_noise(serve)(inputs, threshold)["gradient"]
        return float(tf.norm(noisy - exact) / tf.norm(exact))

    assert 0.0 < noise_of(headed(lambda kernel: kernel)) < 1e-4
    assert noise_of(NOISE["nearly equal classes"]()) > 0.1


# --- Advice --------------------------------------------------------------------------------------


class Noise(keras.layers.Layer):
    def call(self, x):
        return x + tf.random.normal(tf.shape(x))


class Branch(keras.layers.Layer):
    def call(self, x):
        return ops.cond(ops.sum(x) > 0.0, lambda: x, lambda: 2.0 * x)


MODELS = {
    "dense": lambda: network(layers.Flatten(), layers.Dense(5, activation="tanh")),
    "loop": lambda: network(layers.LSTM(4), shape=(6, 3)),
    "unrolled": lambda: network(layers.LSTM(4, unroll=True), shape=(6, 3)),
    "branch": lambda: network(Branch()),
    "random": lambda: network(Noise()),
    "upsampling": lambda: network(layers.UpSampling2D(2), layers.Conv2D(4, 3)),
    "bicubic": lambda: network(layers.Resizing(5, 5, interpolation="bicubic")),
    "area": lambda: network(layers.Resizing(5, 5, interpolation="area")),
    "half precision": lambda: network(layers.Conv2D(4, 3, dtype="mixed_float16")),
    "free sizes": lambda: keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(4),
        ]
    ),
    "erfinv": lambda: network(layers.Lambda(lambda x: tf.math.erfinv(0.5 * x))),
    "fft": lambda: network(layers.Lambda(lambda x: tf.abs(tf.signal.rfft(x))), shape=(8,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", over(MODELS, ["erfinv"]))
@pytest.mark.parametrize("kind", [ODINDetector, pytest.param(MSPDetector, marks=pytest.mark.slow)])
def test_no_refusal_advises_a_format_that_refuses_too(kind, name, tmp_path):
    detector = kind(MODELS[name]())
    accepted, refusals = [], {}
    for format in FORMATS:
        try:
            export(detector, format, tmp_path)
            accepted.append(format)
        except ValueError as refusal:
            refusals[format] = str(refusal)
    for format, message in refusals.items():
        assert "Received: " in message
        advised = set(re.findall(r"format='(\w+)'", message))
        assert advised <= set(accepted), f"{format}: {message}"
        # Nor does it hide the way out, where the format is what refuses.
        if "cannot be written" in message and "tf_saved_model" in accepted:
            assert advised, f"{format}: {message}"
