"""Whether a classifier has input gradients, told by its constructor: what passes and what stops."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_lodin
from keras_lodin.models.differentiability import check_differentiable, gradient_stops
from keras_lodin.models.head import find_head
from tests import networks

VECTORS, IMAGES = ((6,), "float32"), ((8, 8, 3), "float32")
PIXELS, TOKENS = ((8, 8, 3), "uint8"), ((9,), "int32")


def model(spec, *steps):
    """A classifier of three classes behind some steps."""
    shape, dtype = spec
    inputs = keras.Input(shape, dtype=dtype)
    x = inputs
    for step in steps:
        x = step(x)
    x = layers.Flatten()(x) if len(x.shape) > 2 else x
    return keras.Model(inputs, layers.Dense(3)(x))


def lowered(x):
    return ops.where(x > 0.5, x, ops.zeros_like(x))


@keras.saving.register_keras_serializable(package="keras_lodin_tests")
class Doubled(layers.Layer):
    def call(self, inputs):
        return 2.0 * inputs


@keras.saving.register_keras_serializable(package="keras_lodin_tests")
class Binned(layers.Layer):
    def call(self, inputs):
        return ops.floor(4.0 * inputs)


class Own(keras.Model):
    """A subclassed classifier, whose layers cannot be seen."""

    def __init__(self, *steps):
        super().__init__()
        self.steps = list(steps)
        self.head = layers.Dense(3)

    def call(self, inputs):
        for step in self.steps:
            inputs = step(inputs)
        return self.head(inputs)


def own(*steps):
    made = Own(*steps)
    made(np.zeros((1, 6), "float32"))
    return made


def nested(inner):
    inputs = keras.Input(inner.inputs[0].shape[1:], dtype=inner.inputs[0].dtype)
    return keras.Model(inputs, inner(inputs))


PASSING = {
    "dense": lambda: model(VECTORS),
    "free image sizes": lambda: model(((None, None, 3), "float32"), layers.GlobalMaxPooling2D()),
    "series": lambda: model(((7, 2), "float32"), layers.GRU(3)),
    "attention": lambda: model(
        ((7, 4), "float32"), lambda x: layers.MultiHeadAttention(2, 2)(x, x)
    ),
    "preprocessing": lambda: model(IMAGES, layers.Rescaling(2.0), layers.Resizing(5, 5)),
    "augmentation": lambda: model(IMAGES, layers.RandomFlip(), layers.RandomContrast(0.1)),
    "operations": lambda: model(VECTORS, lambda x: ops.tanh(x / 3.0) ** 2 + x[:, ::-1]),
    "rounded beside": lambda: model(VECTORS, lambda x: x + ops.round(x)),
    "chosen by a comparison": lambda: model(VECTORS, lowered),
    "weighed by an argmax": lambda: model(
        VECTORS, lambda x: x * ops.one_hot(ops.argmax(x, axis=-1), 6)
    ),
    "own layer": lambda: model(VECTORS, Doubled()),
    "own activation": lambda: model(VECTORS, layers.Dense(4, activation=tf.math.cosh)),
    "lambda": lambda: model(VECTORS, layers.Lambda(lambda x: 2.0 * x)),
    "wrapped": lambda: model(((7, 2), "float32"), layers.TimeDistributed(layers.Dense(2))),
    "half precision": lambda: model(VECTORS, layers.Dense(4, dtype="mixed_float16")),
    "float16 input": lambda: model(((6,), "float16")),
    "nested": lambda: nested(nested(model(VECTORS))),
    "subclassed": lambda: own(Doubled()),
    "pixels": lambda: model(PIXELS, layers.Rescaling(1 / 255)),
    "pixels divided": lambda: model(PIXELS, lambda x: x / 255),
    "pixels cast": lambda: model(PIXELS, lambda x: ops.cast(x, "float32")),
    "pixels cropped": lambda: model(PIXELS, layers.Cropping2D(1), layers.Rescaling(1 / 255)),
    "pixels nested": lambda: nested(nested(model(PIXELS, layers.Rescaling(1 / 255)))),
    "bits": lambda: model(((6,), "bool"), lambda x: ops.cast(x, "float32")),
    "whole numbers": lambda: model(((6,), "int32"), lambda x: ops.log1p(ops.cast(x, "float32"))),
}

STOPPED = {
    "tokens": (lambda: model(TOKENS, layers.Embedding(5, 4)), "embedding"),
    "tokens as floats": (lambda: model(((9,), "float32"), layers.Embedding(5, 4)), "embedding"),
    "tokens nested": (lambda: nested(model(TOKENS, layers.Embedding(5, 4))), "embedding"),
    "rounded": (lambda: model(VECTORS, ops.round), "round"),
    "floored": (lambda: model(VECTORS, ops.floor), "floor"),
    "sign": (lambda: model(VECTORS, ops.sign), "sign"),
    "detached": (lambda: model(VECTORS, ops.stop_gradient), "stop_gradient"),
    "cast to integers": (
        lambda: model(VECTORS, lambda x: ops.cast(ops.cast(x, "int32"), "float32")),
        "cast",
    ),
    "argmax": (
        lambda: model(VECTORS, lambda x: ops.one_hot(ops.argmax(x, axis=-1), 6)),
        "arg_?max",
    ),
    "compared": (lambda: model(VECTORS, lambda x: ops.cast(x > 0.5, "float32")), "greater"),
    "bins": (
        lambda: model(VECTORS, layers.Discretization([0.3, 0.6]), lambda x: ops.cast(x, "float32")),
        "discretization",
    ),
    "counted": (
        lambda: model(VECTORS, layers.CategoryEncoding(3, output_mode="count")),
        "category_encoding",
    ),
    "own layer": (lambda: model(VECTORS, Binned()), "binned"),
    "own activation": (lambda: model(VECTORS, layers.Activation(tf.round)), "activation"),
    "dense of own activation": (
        lambda: model(VECTORS, layers.Dense(4, activation=tf.round)),
        "dense",
    ),
    "lambda": (lambda: model(VECTORS, layers.Lambda(tf.math.rint)), "lambda"),
    "floats into pixels": (
        lambda: keras.Sequential(
            [keras.Input((8, 8, 3)), model(PIXELS, layers.Rescaling(1 / 255))]
        ),
        "functional",
    ),
    "bytes that overflow": (
        lambda: model(PIXELS, lambda x: ops.cast(x + 100, "float32")),
        "uint8",
    ),
    "bytes that are halved": (
        lambda: model(PIXELS, lambda x: ops.cast(x // 2, "float32")),
        "floor_divide",
    ),
    "subclassed": (lambda: own(Binned()), "subclassed"),
}


def true_gradient(classifier):
    """Whether TensorFlow finds one, on floats and through the whole classifier."""
    head = find_head(classifier)
    shape = [2, *(8 if size is None else size for size in head.input_shape[1:])]
    inputs = tf.random.stateless_uniform(shape, seed=(1, 2))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        logits = head.logits(inputs, training=False)
    gradient = tape.gradient(logits, inputs)
    return gradient is not None and bool(tf.reduce_any(gradient != 0.0))


@pytest.mark.grid(6)
@pytest.mark.parametrize("kind", PASSING)
def test_what_has_a_gradient_is_accepted(kind):
    classifier = PASSING[kind]()

    assert true_gradient(classifier)
    keras_lodin.ODINDetector(classifier)
    keras_lodin.GQModel(classifier)


@pytest.mark.grid(2)
@pytest.mark.parametrize("kind", STOPPED)
def test_what_has_none_is_refused_at_once_with_what_stops_it(kind):
    make, reason = STOPPED[kind]
    classifier = make()

    if "bytes" not in kind:  # Cast to floats first they would have one, of another function.
        assert not true_gradient(classifier)
    message = rf"(?s)ODINDetector needs the gradient.*MSPDetector.*Received: .*{reason}"
    with pytest.raises(ValueError, match=message):
        keras_lodin.ODINDetector(classifier)
    with pytest.raises(ValueError, match="GQModel needs the gradient"):
        keras_lodin.GQModel(classifier)


@pytest.mark.grid(6)
@pytest.mark.parametrize(
    "kind",
    [
        "tokens",
        "tokens as floats",
        "argmax",
        "floats into pixels",
        "bytes that overflow",
        "subclassed",
    ],
)
def test_detectors_without_a_gradient_take_what_has_none(kind):
    classifier = STOPPED[kind][0]()
    shape = find_head(classifier).input_shape[1:]
    data = np.random.default_rng(0).integers(0, 5, (3, *shape))
    data = data.astype("float32") if kind == "subclassed" else data

    outputs = keras_lodin.MSPDetector(classifier).predict(data, verbose=0)

    expected = classifier.predict(data, verbose=0)
    np.testing.assert_allclose(outputs["logits"], expected, rtol=1e-5, atol=1e-5)
    keras_lodin.GQModel(classifier, gq_weight=0.0)


def test_all_that_needs_a_gradient_refuses_tokens_before_it_reads_data():
    classifier = model(TOKENS, layers.Embedding(5, 4))
    for name, ask in {
        "MahalanobisDetector": lambda: keras_lodin.MahalanobisDetector(classifier, epsilon=0.1),
        "GradientPenaltyModel": lambda: keras_lodin.GradientPenaltyModel(classifier),
        "gradient_quotient": lambda: keras_lodin.gradient_quotient(classifier, None),
        "gradient_distributions": lambda: keras_lodin.gradient_distributions(classifier, None),
    }.items():
        with pytest.raises(ValueError, match=f"{name} needs the gradient.*'embedding"):
            ask()
    keras_lodin.MahalanobisDetector(classifier)


def test_a_score_of_ones_own_that_needs_a_gradient_says_so_of_tokens():
    class Steep(keras_lodin.Detector):
        def score(self, forward_pass):
            return ops.sum(forward_pass.input_gradient(forward_pass.logits), axis=-1)

    detector = Steep(model(TOKENS, layers.Embedding(5, 4)))
    with pytest.raises(ValueError, match="no gradient with respect to its inputs"):
        detector(np.zeros((2, 9), "int32"))
    assert detector.forward_pass(np.zeros((2, 9), "int32")).inputs.dtype == tf.int32


def test_a_score_of_another_shape_is_refused():
    class PerClass(keras_lodin.Detector):
        def score(self, forward_pass):
            return forward_pass.logits

    with pytest.raises(ValueError, match=r"(?s)`PerClass\.score` must return one number for each"):
        PerClass(networks.dense())(np.zeros((2, 10), "float32"))


def test_large_tokens_are_not_rounded():
    names = [2**24, 2**24 + 1]  # one number in float32
    inputs = keras.Input((1,), dtype="int64")
    places = layers.IntegerLookup(vocabulary=names)(inputs)
    classifier = keras.Model(inputs, layers.Dense(3)(ops.cast(places, "float32")))
    data = np.array(names)[:, None]

    found = keras_lodin.MSPDetector(classifier)(data)["logits"]

    np.testing.assert_array_equal(found, classifier(data))
    assert np.all(found[0] != found[1])


@pytest.mark.slow
def test_no_layer_of_keras_is_known_that_stops_the_gradient():
    # What the walk trusts without a trace is traced here: a Keras that adds a layer is met.
    inputs = {2: keras.Input((6,)), 3: keras.Input((8, 4)), 4: keras.Input((8, 8, 4))}
    inputs[5] = keras.Input((8, 8, 8, 4))
    tried = set()
    for name in sorted(dir(layers)):
        layer_class = getattr(layers, name)
        for options in ((), (2,), (4, 3), (2, 2)):
            for source in inputs.values():
                try:
                    layer = layer_class(*options)
                    output = layer(source)
                    network = keras.Model(source, output)
                    values = tf.random.stateless_uniform([2, *source.shape[1:]], seed=(1, 2))
                    with tf.GradientTape() as tape:
                        tape.watch(values)
                        value = network(values, training=False)
                except Exception:  # not a layer of one such tensor
                    continue
                if output is not source and gradient_stops(network) == []:
                    tried.add(name)
                    assert tape.gradient(value, values) is not None, name
    assert len(tried) > 60


def test_a_network_is_not_traced_to_find_out(monkeypatch):
    traced = []
    monkeypatch.setattr(tf, "function", lambda *args, **kwargs: traced.append(args))

    check_differentiable(find_head(networks.residual(normalization=True)), "it")

    assert not traced
