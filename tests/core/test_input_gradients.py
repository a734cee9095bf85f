"""Input gradients on every backend, against finite differences of numpy's float64."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_lodin.data.passes import BatchFunction
from keras_lodin.gradients import ForwardPass
from keras_lodin.gradients.norms import gradient_norms
from tests.core import networks

NETWORKS = [(a, n) for a in networks.ACTIVATIONS for n in (False, True)]


def passing(model, function, training=True):
    """What a function makes of a `ForwardPass` over a batch, compiled."""
    return BatchFunction(
        lambda x: function(ForwardPass(lambda inputs: model(inputs, training=training), x))
    )


@pytest.mark.parametrize(("activation", "normalization"), NETWORKS)
def test_gradients_and_derivatives_in_training_mode_are_those_of_differences(
    activation, normalization, rng
):
    model = networks.classifier(activation, normalization)
    reference = networks.Reference(model, activation)
    x, _ = networks.batch()
    cotangents = rng.normal(size=(2, len(x), networks.CLASSES))
    direction = rng.normal(size=x.shape)
    given = [ops.convert_to_tensor(one, dtype="float32") for one in (cotangents, direction)]

    def derivatives(forward_pass):
        return {
            # A sample first, as a compiled function of a batch gives it.
            "gradients": ops.swapaxes(forward_pass.input_gradients(given[0]), 0, 1),
            "gradient": forward_pass.input_gradient(given[0][0]),
            "along": forward_pass.directional_derivative(given[1]),
            "logits": forward_pass.logits,
        }

    found = passing(model, derivatives)(x)
    x = x.astype("float64")
    np.testing.assert_allclose(found["logits"], reference.logits(x), rtol=1e-4, atol=1e-5)
    for number, cotangent in enumerate(cotangents):
        expected = reference.input_gradient(x, cotangent)
        np.testing.assert_allclose(found["gradients"][:, number], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["gradient"], found["gradients"][:, 0], rtol=1e-4, atol=1e-5)
    if normalization:
        reference.hold_statistics(x)
    step = 1e-5
    sides = [reference.logits(x + sign * step * direction) for sign in (1, -1)]
    expected = (sides[0] - sides[1]) / (2 * step)
    np.testing.assert_allclose(found["along"], expected, rtol=1e-3, atol=1e-4)


# On TensorFlow tests/gradients/test_norms.py tries it.
@pytest.mark.slow_on("tensorflow")
@pytest.mark.parametrize("normalization", [False, True])
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_chunks_give_the_same_norms(norm, normalization, rng):
    model = networks.classifier("softplus", normalization)
    x, _ = networks.batch()
    cotangents = ops.convert_to_tensor(rng.normal(size=(5, len(x), 5)), dtype="float32")
    weights = ops.convert_to_tensor(rng.uniform(size=(5, len(x))), dtype="float32")

    def found(chunk_size):
        def of_pass(forward_pass):
            norms, total = gradient_norms(forward_pass, cotangents, norm, weights, chunk_size)
            return [ops.transpose(norms), total]

        return passing(model, of_pass)(x)

    for whole, cut in zip(found(None), found(2), strict=True):
        np.testing.assert_allclose(cut, whole, rtol=1e-4, atol=1e-6)


def test_a_dropout_mask_is_shared_by_values_and_gradients():
    inputs = keras.Input((20,))
    dropped = keras.layers.Dropout(0.5, seed=1)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, use_bias=False)(dropped))
    kernel = networks.drawn(model).get_weights()[0]

    def both(forward_pass):
        gradient = forward_pass.input_gradient(ops.ones_like(forward_pass.logits))
        return {"gradient": gradient, "logits": forward_pass.logits}

    found = passing(model, both)(np.ones((4, 20), "float32"))
    mask = found["gradient"] / kernel.sum(1)
    assert set(np.round(np.unique(mask), 3)) == {0.0, 2.0}
    np.testing.assert_allclose(mask @ kernel, found["logits"], rtol=1e-4, atol=1e-5)


def test_a_compiled_function_follows_the_weights_and_takes_batches_of_any_size():
    model = networks.classifier()
    x, _ = networks.batch(9)
    logits = BatchFunction(lambda inputs: model(inputs, training=False))
    whole = logits(x)
    np.testing.assert_allclose(logits(x[:4]), whole[:4], rtol=1e-5, atol=1e-6)
    bias = model.get_layer("logits").bias
    bias.assign(ops.convert_to_numpy(bias) + 1.0)
    np.testing.assert_allclose(logits(x), whole + 1.0, rtol=1e-4, atol=1e-5)


def test_a_generator_of_seeds_goes_on_from_batch_to_batch():
    generator = keras.random.SeedGenerator(3)
    draws = BatchFunction(lambda x: keras.random.normal(ops.shape(x), seed=generator))
    x = np.zeros((4, 2), "float32")
    assert not np.allclose(draws(x), draws(x))


def test_names_have_no_gradient(rng):
    (forward_pass,) = ForwardPass.of_names(
        lambda x: [ops.one_hot(x[:, 0], 3)], ops.convert_to_tensor([[1], [2]], dtype="int32")
    )
    for derivative in (
        lambda: forward_pass.input_gradient(ops.ones((2, 3))),
        lambda: forward_pass.input_gradients(ops.ones((1, 2, 3))),
        lambda: forward_pass.directional_derivative(ops.ones((2, 1))),
    ):
        with pytest.raises(ValueError, match=r"no gradient.*Received: inputs of shape \(2, 1\)"):
            derivative()
