import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_lodin import MSPDetector
from keras_lodin.data.passes import BatchFunction
from tests import networks


def test_batches_of_all_sizes_share_one_graph(rng):
    traces = []

    def total(values):
        traces.append(values.shape)
        return {"sum": ops.sum(values, axis=-1)}

    compiled = BatchFunction(total)
    for size in (4, 1, 7):
        values = rng.normal(size=(size, 3)).astype("float32")
        np.testing.assert_allclose(compiled(values)["sum"], values.sum(axis=-1), rtol=1e-5)
    assert traces == [(None, 3)]


def test_samples_of_another_shape_get_a_graph_of_their_own(rng):
    compiled = BatchFunction(lambda values: ops.mean(values, axis=(1, 2)))
    for side in (3, 5):
        values = rng.normal(size=(2, side, side)).astype("float32")
        np.testing.assert_allclose(compiled(values), values.mean(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "reached"),
    [("float64", "float32"), ("float16", "float32"), ("uint8", "uint8"), ("int64", "int64")],
)
def test_only_floating_point_inputs_are_cast(given, reached):
    assert BatchFunction(lambda values: values)(np.ones((2, 1), given)).dtype == reached


def test_a_weight_that_changes_is_followed():
    factor = keras.Variable(2.0)
    compiled = BatchFunction(lambda values: values * factor)
    ones = np.ones((1, 1), "float32")
    assert compiled(ones) == 2.0
    factor.assign(3.0)
    assert compiled(ones) == 3.0


def test_many_detectors_calibrated_in_a_row_raise_no_warning_of_retracing(images, caplog):
    logger = tf.get_logger()
    logger.addHandler(caplog.handler)
    try:
        for _ in range(6):
            MSPDetector(networks.convolutional()).calibrate(images, tpr=0.5, batch_size=8)
    finally:
        logger.removeHandler(caplog.handler)
    assert "retracing" not in caplog.text
