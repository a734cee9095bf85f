"""Models whose `predict` is not their `call`: made one, or refused."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_lodin
from keras_lodin import models
from keras_lodin.models.deployed_classifier import deployed_classifier
from keras_lodin.models.head import find_head

registered = keras.saving.register_keras_serializable(package="keras_lodin_tests")
SHAPE = (6, 6, 3)


@registered
class Converter(layers.Layer):
    """Rescales images, as the image converters of libraries of models do."""

    def __init__(self, image_size=None, **kwargs):
        super().__init__(**kwargs)
        self.image_size = image_size

    def call(self, inputs):
        if self.image_size:
            inputs = ops.image.resize(inputs, self.image_size)
        return ops.cast(inputs, "float32") / 255.0 - 0.5

    def get_config(self):
        return {**super().get_config(), "image_size": self.image_size}


@registered
class Preprocessor(layers.Layer):
    """Takes labels too, and gives them back."""

    def __init__(self, image_converter=None, **kwargs):
        super().__init__(**kwargs)
        self.image_converter = image_converter or Converter()

    def call(self, x, y=None, sample_weight=None):
        return keras.utils.pack_x_y_sample_weight(self.image_converter(x), y, sample_weight)


def inputs_of(data):
    return keras.utils.unpack_x_y_sample_weight(data)[0]


class _Prepared(keras.Model):
    """A functional model with an attached preprocessor, which calling the model does not run."""

    def __init__(self, *args, preprocessor=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.preprocessor = preprocessor

    def get_config(self):
        preprocessor = keras.saving.serialize_keras_object(self.preprocessor)
        inputs_and_outputs = super().get_config()
        return {"graph": inputs_and_outputs, "preprocessor": preprocessor}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        plain = keras.Model.from_config(config["graph"])
        preprocessor = keras.saving.deserialize_keras_object(config["preprocessor"])
        return cls(plain.inputs, plain.outputs[0], preprocessor=preprocessor)


@registered
class PreparedInStep(_Prepared):
    def predict_step(self, data):
        return self(self.preprocessor(inputs_of(data)), training=False)


@registered
class PreparedInPredict(_Prepared):
    def predict(self, x, **kwargs):
        return super().predict(self.preprocessor(ops.convert_to_tensor(x)), **kwargs)


@registered
class PreparedInFunction(_Prepared):
    def make_predict_function(self, force=False):
        def prepared(iterator):
            return self(self.preprocessor(inputs_of(next(iter(iterator)))), training=False)

        self.predict_function = prepared


@registered
class OnBatches(_Prepared):
    """Only `predict_on_batch` is its own, and does the same as Keras's."""

    def predict_on_batch(self, x):
        return super().predict_on_batch(x)


@registered
class WithSoftmax(_Prepared):
    """What is predicted are probabilities of the logits that the call gives."""

    def predict_step(self, data):
        return ops.softmax(self(inputs_of(data), training=False))


@registered
class WithLargest(_Prepared):
    def predict_step(self, data):
        return ops.argmax(self(inputs_of(data), training=False), axis=-1)


@registered
class Scaling(_Prepared):
    def predict_step(self, data):
        return self(inputs_of(data) / 255.0, training=False)


@registered
class Paths(_Prepared):
    def predict(self, paths, **kwargs):
        raise TypeError("expected names of files")


def classifier(kind=keras.Model, activation=None, shape=SHAPE, **options):
    inputs = keras.Input(shape)
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    return kind(inputs, layers.Dense(5, activation=activation)(x), **options)


@pytest.fixture
def pixels(rng):
    return rng.uniform(0, 255, size=(4, *SHAPE)).astype("float32")


def rescaling():
    normalization = layers.Normalization(mean=[0.5] * 3, variance=[1.0] * 3)
    return keras.Sequential([keras.Input(SHAPE), layers.Rescaling(1 / 255), normalization])


WHOLE = {
    "predict_step": lambda: classifier(PreparedInStep, preprocessor=Converter()),
    "predict": lambda: classifier(PreparedInPredict, preprocessor=Converter()),
    "make_predict_function": lambda: classifier(PreparedInFunction, preprocessor=Converter()),
    "a softmax": lambda: classifier(PreparedInStep, "softmax", preprocessor=Converter()),
    "a preprocessor of labels too": lambda: classifier(
        PreparedInPredict, preprocessor=Preprocessor()
    ),
    "a resizing preprocessor": lambda: classifier(
        PreparedInStep, preprocessor=Preprocessor(Converter(SHAPE[:2])), shape=(None, None, 3)
    ),
    "Keras's layers": lambda: classifier(PreparedInStep, preprocessor=rescaling()),
    "a functional preprocessor": lambda: classifier(
        PreparedInStep,
        preprocessor=keras.Sequential([keras.Input(SHAPE), layers.Rescaling(1 / 127.5, -1.0)]),
    ),
}


@pytest.mark.grid(4)
@pytest.mark.parametrize("name", WHOLE)
def test_a_preprocessor_becomes_part_of_what_is_wrapped(name, pixels):
    model = WHOLE[name]()
    expected = model.predict(pixels, verbose=0)
    assert np.abs(expected - ops.convert_to_numpy(model(pixels))).max() > 1e-3
    head = find_head(model)
    assert head.input_shape == (None, *SHAPE)
    found = ops.convert_to_numpy(head.output(head.logits(pixels, training=False)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(head.classifier.predict(pixels, verbose=0), found, atol=1e-5)
    assert head.classifier.weights[-1] is model.weights[-1]


@pytest.mark.parametrize(
    "make",
    [
        classifier,
        lambda: classifier(OnBatches),
        lambda: classifier(WithSoftmax),
        lambda: classifier(PreparedInStep, preprocessor=layers.Rescaling(1.0)),
        lambda: keras.Sequential([keras.Input((3,)), layers.Dense(2)]),
    ],
)
def test_a_model_that_predicts_what_it_computes_is_wrapped_itself(make):
    model = make()
    assert deployed_classifier(model) is model


REFUSED = {
    "a step": (lambda: classifier(Scaling), r"(?s)a `predict_step` of its own.*differs by up to"),
    "the largest class": (lambda: classifier(WithLargest), r"`predict_step`.*outputs of shapes"),
    "files": (lambda: classifier(Paths), r"a `predict` of its own.*names of files"),
    "a function": (
        lambda: classifier(PreparedInStep, preprocessor=lambda x: x / 255.0),
        r"its `preprocessor`, a function, is run by `predict` alone",
    ),
    "text": (
        lambda: classifier(PreparedInStep, preprocessor=layers.TextVectorization(vocabulary=["a"])),
        r"its `preprocessor`, a TextVectorization, is run by `predict` alone",
    ),
}


@pytest.mark.grid(4)
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize(
    "wrap", [keras_lodin.MSPDetector, keras_lodin.GQModel, deployed_classifier]
)
def test_another_prediction_is_refused_with_what_differs(wrap, name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        wrap(make())


def test_the_advice_is_right_when_it_is_followed(pixels):
    model = classifier(Scaling)
    with pytest.raises(ValueError, match=r"classifier\(preprocessing\(inputs\)\)"):
        find_head(model)
    inputs = keras.Input(SHAPE)
    whole = keras.Model(inputs, model(layers.Rescaling(1 / 255)(inputs)))
    prepared = keras.Model(inputs, model(inputs))
    expected = model.predict(pixels, verbose=0)
    for followed, given in ((whole, pixels), (prepared, pixels / 255.0)):
        found = ops.convert_to_numpy(find_head(followed).logits(given, training=False))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_preprocessing_is_trained_saved_and_loaded_with_its_classifier(pixels, tmp_path):
    model = WHOLE["predict_step"]()
    trained = keras_lodin.GQModel(model, gq_weight=0.0)
    trained.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    trained.fit(pixels, np.arange(4), verbose=0)
    expected = model.predict(pixels, verbose=0)
    np.testing.assert_allclose(trained.predict(pixels, verbose=0), expected, atol=1e-5)
    detector = keras_lodin.MaxLogitDetector(model)
    detector.save(tmp_path / "detector.keras")
    model.save(tmp_path / "model.keras")
    loaded = models.load(tmp_path / "detector.keras")
    np.testing.assert_allclose(loaded(pixels)["logits"], expected, atol=1e-5)
    np.testing.assert_allclose(models.load(tmp_path / "model.keras")(pixels), expected, atol=1e-5)
