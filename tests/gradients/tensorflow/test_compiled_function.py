import keras
import numpy as np
import pytest
from keras import ops

from keras_lodin.gradients.tensorflow import CompiledFunction


def test_batches_of_all_sizes_share_one_graph(rng):
    traces = []

    def total(values):
        traces.append(values.shape)
        return {"sum": ops.sum(values, axis=-1)}

    compiled = CompiledFunction(total)
    for size in (4, 1, 7):
        values = rng.normal(size=(size, 3)).astype("float32")
        np.testing.assert_allclose(compiled(values)["sum"], values.sum(axis=-1), rtol=1e-5)
    assert traces == [(None, 3)]


def test_samples_of_another_shape_get_a_graph_of_their_own(rng):
    compiled = CompiledFunction(lambda values: ops.mean(values, axis=(1, 2)))
    for side in (3, 5):
        values = rng.normal(size=(2, side, side)).astype("float32")
        np.testing.assert_allclose(compiled(values), values.mean(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "reached"),
    [("float64", "float32"), ("float16", "float32"), ("uint8", "uint8"), ("int64", "int64")],
)
def test_only_floating_point_inputs_are_cast(given, reached):
    assert CompiledFunction(lambda values: values)(np.ones((2, 1), given)).dtype == reached


def test_a_weight_that_changes_is_followed():
    factor = keras.Variable(2.0)
    compiled = CompiledFunction(lambda values: values * factor)
    ones = np.ones((1, 1), "float32")
    assert compiled(ones) == 2.0
    factor.assign(3.0)
    assert compiled(ones) == 3.0
