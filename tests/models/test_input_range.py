"""What a classifier's first layers show of the range of its inputs."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_lodin.models import guess_input_range, judge_input_range
from keras_lodin.models.input_range import resolve_input_range

SHAPE = (8, 8, 3)
APPLICATIONS = keras.applications
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def classifier(first, shape=SHAPE, dtype="float32"):
    inputs = keras.Input(shape, dtype=dtype)
    x = layers.Flatten()(first(inputs))
    return keras.Model(inputs, layers.Dense(2)(x))


def judged(first, **options):
    found = judge_input_range(classifier(first, **options))
    assert found.known or found.bounds in ((0.0, 1.0), (0.0, 255.0))
    return found.origin, found.bounds


def own_standardisation():
    return type("Standardise", (layers.Layer,), {"call": lambda self, x: (x - 127.5) / 127.5})()


PIXELS = {
    "Rescaling": layers.Rescaling(1 / 255),
    "Rescaling to -1 to 1": layers.Rescaling(1 / 127.5, offset=-1),
    "Rescaling by a power of two": layers.Rescaling(1 / 128, offset=-1),
    "Rescaling for each channel": layers.Rescaling(1 / (255 * STD), offset=-MEAN / STD),
    "Normalization": layers.Normalization(mean=[120, 110, 100], variance=[3600.0] * 3),
    "/ 255": lambda x: x / 255,
    "* (1 / 255)": lambda x: x * (1 / 255),
    "/ 127.5 - 1": lambda x: x / 127.5 - 1,
    "(x - 127.5) / 127.5": lambda x: (x - 127.5) / 127.5,
    "operations": lambda x: ops.subtract(ops.divide(x, 127.5), 1.0),
    "negative": lambda x: 1.0 - x / 255,
    "mobilenet_v2": APPLICATIONS.mobilenet_v2.preprocess_input,
    "resnet": APPLICATIONS.resnet.preprocess_input,
    "densenet": APPLICATIONS.densenet.preprocess_input,
    "Lambda": layers.Lambda(lambda x: x / 127.5 - 1),
    "Lambda of preprocess_input": layers.Lambda(APPLICATIONS.vgg16.preprocess_input),
    "layer of one's own": own_standardisation(),
    "CenterCrop": lambda x: layers.Rescaling(1 / 255)(layers.CenterCrop(4, 4)(x)),
    "Resizing": lambda x: layers.Resizing(4, 4)(x) / 255,
    "augmentation": lambda x: layers.RandomRotation(0.1)(layers.RandomFlip()(x)) / 255,
    "augmentation in a model": lambda x: keras.Sequential([layers.RandomFlip()])(x) / 255,
    "padding": lambda x: layers.ZeroPadding2D(1)(x / 255),
    "channels turned round": lambda x: x[..., ::-1] / 255,
    "cast": lambda x: ops.cast(ops.cast(x, "float16"), "float32") / 255,
    "two steps": lambda x: (x / 255 - MEAN) / STD,
    "noise of training": lambda x: layers.GaussianNoise(0.1)(x / 255),
    "nested": lambda x: classifier(layers.Rescaling(1 / 255))(x),
    "nested twice": lambda x: classifier(classifier_of_rescaling)(x),
}


def classifier_of_rescaling(x):
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, layers.Conv2D(2, 3)(inputs / 255))(x)


@pytest.mark.parametrize("first", PIXELS.values(), ids=PIXELS)
def test_pixels_from_0_to_255_are_known(first):
    assert judged(first) == ("classifier", (0.0, 255.0))


OTHERS = {
    "x * 2 - 1": (lambda x: x * 2 - 1, (0.0, 1.0)),
    "standardised": (lambda x: (x - MEAN) / STD, (0.0, 1.0)),
    "Normalization": (layers.Normalization(mean=[0.5] * 3, variance=[0.04] * 3), (0.0, 1.0)),
    "to pixels": (layers.Rescaling(255.0), (0.0, 1.0)),
    "to pixels and back": (lambda x: layers.Rescaling(255.0)(x) / 255, (0.0, 1.0)),
    "from -1 to 1 to pixels": (lambda x: (x + 1) * 127.5, (-1.0, 1.0)),
    "from -1 to 1 and back": (lambda x: ((x + 1) * 127.5) / 127.5 - 1, (-1.0, 1.0)),
    "from -1 to 1": (lambda x: x * 0.5 + 0.5, (-1.0, 1.0)),
    "4 bits": (lambda x: x / 16, (0.0, 16.0)),
    "16 bits": (lambda x: x / 65535, (0.0, 65535.0)),
    "clipped": (lambda x: ops.clip(x, 0, 1), (0.0, 1.0)),
}


@pytest.mark.parametrize(("first", "bounds"), OTHERS.values(), ids=OTHERS)
def test_other_ranges_are_known(first, bounds):
    assert judged(first) == ("classifier", bounds)


UNTOLD = {
    "nothing": lambda x: x,
    "padding": layers.ZeroPadding2D(1),
    "flips": layers.RandomFlip(),
    "learnt": lambda x: layers.Rescaling(1 / 255)(layers.Conv2D(2, 3)(x)),
    "BatchNormalization": layers.BatchNormalization(),
    "efficientnet": APPLICATIONS.efficientnet.preprocess_input,
    "cast": lambda x: ops.cast(x, "float32"),
    "each image by itself": layers.Lambda(lambda x: x - ops.mean(x, axis=(1, 2, 3), keepdims=True)),
}


@pytest.mark.parametrize("first", UNTOLD.values(), ids=UNTOLD)
def test_where_nothing_shows_0_to_1_is_assumed(first):
    assert judged(first) == ("assumed", (0.0, 1.0))


def fails(x):
    raise RuntimeError("whatever a user's function may raise")


@pytest.mark.parametrize(
    "first",
    [
        ops.log1p,
        lambda x: ops.log(x),
        ops.square,
        ops.sqrt,
        ops.tanh,
        layers.Lambda(fails, output_shape=SHAPE),
    ],
    ids=["log1p", "log", "square", "sqrt", "tanh", "fails"],
)
def test_what_is_no_scaling_is_unknown(first):
    assert judged(first)[0] == "unknown"


def test_bytes_are_pixels():
    for first in (lambda x: ops.cast(x, "float32"), layers.Rescaling(1 / 255)):
        assert judged(first, dtype="uint8") == ("classifier", (0.0, 255.0))


def table(scales, mean=0.0):
    variance = np.square(np.float32(scales))
    means = np.full(len(scales), mean, "float32")
    return classifier(layers.Normalization(mean=means, variance=variance), (len(scales),))


def test_features_of_a_table_have_no_range_that_the_first_layers_show():
    assert not judge_input_range(table([0.1, 3.0, 400.0], mean=5.0)).known
    assert judged(layers.Rescaling(1 / 255), shape=(64,)) == ("classifier", (0.0, 255.0))


def test_the_bounds_are_what_is_guessed():
    assert guess_input_range(classifier(layers.Rescaling(1 / 255))) == (0.0, 255.0)
    assert guess_input_range(classifier(lambda x: x)) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("scales", "bounds", "refused"),
    [
        ([0.1, 350.0], (0, 1680), True),
        ([0.1, 1.0, 350.0], (-1000, 1000), True),
        ([1e-3, 1e3], (0, 1), True),
        ([1.0, 1.5, 2.0], (-5, 5), False),
        ([1.0, 30.0], (0, 100), False),
        ([50.0, 60.0], (0, 255), False),
        ([0.1, 350.0], (np.zeros(2), np.array([0.7, 1680])), False),
        ([0.0, 1.0, 1.2], (-5, 5), False),  # a constant feature
    ],
)
def test_one_range_for_features_of_other_units_is_refused(scales, bounds, refused):
    model = table(scales)
    if refused:
        message = r"features of different units.*x\.min\(axis=0\).*Received: input_range=\("
        with pytest.raises(ValueError, match=message):
            resolve_input_range(bounds, model, (len(scales),))
    else:
        assert resolve_input_range(bounds, model, (len(scales),)).origin == "given"


class Subclassed(keras.Model):
    def __init__(self, *first):
        super().__init__()
        self.first = list(first)
        self.head = layers.Dense(2)

    def call(self, x):
        for layer in self.first:
            x = layer(x)
        return self.head(x)


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ((layers.Rescaling(1 / 255),), ("classifier", (0.0, 255.0))),
        ((layers.Flatten(), layers.Rescaling(1 / 127.5, -1)), ("classifier", (0.0, 255.0))),
        ((layers.Rescaling(0.01, 0.3),), ("assumed", (0.0, 255.0))),
        ((layers.Dense(3), layers.Rescaling(1 / 255)), ("assumed", (0.0, 1.0))),
        ((), ("assumed", (0.0, 1.0))),
    ],
)
def test_a_subclassed_model_shows_its_layers(first, expected):
    model = Subclassed(*first)
    model(np.zeros((1, 6), "float32"))
    found = judge_input_range(model)
    assert (found.origin, found.bounds) == expected


# --- The networks of keras.applications --------------------------------------------------------

WITHOUT_PREPROCESSING = {
    "DenseNet121": {},
    "DenseNet169": {},
    "InceptionResNetV2": {},
    "InceptionV3": {},
    "MobileNet": {},
    "MobileNetV2": {},
    "NASNetMobile": {},
    "ResNet50": {},
    "ResNet50V2": {},
    "ResNet101": {},
    "VGG16": {},
    "VGG19": {},
    "Xception": {},
    "MobileNetV3Small": {"include_preprocessing": False},
    "EfficientNetV2B0": {"include_preprocessing": False},
    "EfficientNetV2S": {"include_preprocessing": False},
    "ConvNeXtTiny": {"include_preprocessing": False},
}
WITH_PREPROCESSING = (
    "EfficientNetB0",
    "EfficientNetB3",
    "EfficientNetV2B0",
    "EfficientNetV2S",
    "MobileNetV3Small",
    "MobileNetV3Large",
    "ConvNeXtTiny",
)


def application(name, options=None):
    # Some networks take no smaller images.
    size = 75 if name.startswith(("Inception", "Xception")) else 32
    build = getattr(APPLICATIONS, name)
    return build(weights=None, input_shape=(size, size, 3), classes=3, **(options or {}))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), WITHOUT_PREPROCESSING.items())
def test_networks_without_preprocessing_show_nothing_and_their_preprocess_input_does(name, options):
    network = application(name, options)
    assert not judge_input_range(network).known
    module = {"ResNet50V2": "resnet_v2", "ResNet50": "resnet", "VGG16": "vgg16"}.get(name)
    if module:
        inputs = keras.Input(network.input_shape[1:])
        preprocess = getattr(APPLICATIONS, module).preprocess_input
        whole = keras.Model(inputs, network(preprocess(inputs)))
        found = judge_input_range(whole)
        assert (found.origin, found.bounds) == ("classifier", (0.0, 255.0))


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_PREPROCESSING)
def test_networks_with_preprocessing_take_pixels(name):
    found = judge_input_range(application(name))
    assert (found.origin, found.bounds) == ("classifier", (0.0, 255.0))
