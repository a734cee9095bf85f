"""A trace that is made once, for an export and for what the export is held to."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_lodin import ODINDetector
from keras_lodin.export.runnable import runnable
from keras_lodin.export.serving_function import serving_function


def served(*hidden, shape=(8, 8, 6)):
    classifier = keras.Sequential(
        [keras.Input(shape), *hidden, layers.Flatten(), layers.Dense(3, activation="tanh")]
    )
    detector = ODINDetector(classifier, input_range=(0.0, 1.0))
    return serving_function(detector, with_gradient=True)


@pytest.mark.parametrize(
    "options",
    [{"padding": "same"}, {"strides": 2}, {"dilation_rate": 2}, {"filters": 12}],
    ids=["same", "strides", "dilated", "two filters for a channel"],
)
def test_a_group_for_each_channel_is_a_depthwise_convolution(options, rng):
    serve = served(layers.Conv2D(**{"filters": 6, "kernel_size": 3, "groups": 6, **options}))
    batch = tf.constant(rng.uniform(size=(2, 8, 8, 6)), tf.float32)
    written = runnable(serve)
    kinds = {operation.type for operation in written.graph.get_operations()}
    assert {"DepthwiseConv2dNative", "DepthwiseConv2dNativeBackpropInput"} <= kinds
    expected = serve(batch, tf.constant(0.0))
    for name, value in written(batch, tf.constant(0.0)).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_other_groups_are_left_to_keras():
    serve = served(layers.Conv2D(6, 3, groups=2))
    assert runnable(serve) is serve


@pytest.mark.parametrize(
    ("format", "file"),
    [("onnx", "d.onnx"), pytest.param("litert", "d.tflite", marks=pytest.mark.slow)],
)
def test_a_classifier_is_traced_once_for_an_export(format, file, tmp_path):
    calls = []

    class Watched(layers.Layer):
        def call(self, x):
            calls.append(x)
            return 2.0 * x

    detector = ODINDetector(
        keras.Sequential([keras.Input((6,)), Watched(), layers.Dense(3, activation="tanh")])
    )
    calls.clear()
    detector.export(tmp_path / file, format=format, verbose=False)
    assert len(calls) == 2  # the forward pass, and the one behind the step
