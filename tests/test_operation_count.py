"""Multiply-adds of the outputs of a model, which `benchmarks/mood_cost.py` counts."""

import sys
from pathlib import Path

import keras
import pytest
from keras import layers, ops

import keras_lodin
from keras_lodin import models
from tests import networks

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from operation_count import multiply_adds


def single(layer, shape):
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (layers.Dense(5), (4,), 4 * 5),
        (layers.Dense(5), (7, 4), 7 * 4 * 5),
        (layers.Conv1D(5, 3), (10, 2), 8 * 3 * 2 * 5),
        (layers.Conv2D(5, 3, padding="same"), (8, 6, 2), 48 * 9 * 2 * 5),
        (layers.Conv2D(5, 3, 2, padding="same"), (8, 6, 2), 12 * 9 * 2 * 5),
        (layers.Conv2D(6, 3, groups=2), (8, 8, 4), 36 * 9 * 2 * 6),
        (layers.Conv2D(5, 1, use_bias=False), (8, 8, 2), 64 * 2 * 5),
        (layers.Conv3D(2, 2), (3, 4, 5, 2), 2 * 3 * 4 * 8 * 2 * 2),
        (layers.DepthwiseConv1D(3), (10, 2), 8 * 3 * 2),
        (layers.DepthwiseConv2D(3, depth_multiplier=2), (8, 8, 4), 36 * 9 * 4 * 2),
        (layers.SeparableConv2D(5, 3), (8, 8, 4), 36 * (9 * 4 + 4 * 5)),
        (layers.BatchNormalization(), (8, 8, 4), 0),
        (layers.LayerNormalization(axis=(1, 2)), (4, 4), 0),
        (layers.PReLU(), (8, 8, 4), 0),
        (layers.AveragePooling2D(2), (8, 8, 4), 0),
    ],
)
def test_a_layer_counts_its_products(layer, shape, expected):
    assert multiply_adds(single(layer, shape)) == [expected]


def test_channels_first_positions_are_the_last_axes():
    layer = layers.Conv2D(5, 1, data_format="channels_first")
    assert multiply_adds(single(layer, (2, 8, 6))) == [48 * 2 * 5]


@pytest.mark.slow
def test_resnet_counts_are_those_of_the_literature():
    """0.56 and 1.16 billion for the wide stem at 32 pixels, 41 million for ResNet-20."""
    assert multiply_adds(models.ResNet18()) == [555_422_720]
    assert multiply_adds(models.ResNet34()) == [1_159_402_496]
    assert multiply_adds(models.ResNet20()) == [40_551_040]


def test_an_output_counts_only_what_it_depends_on():
    inputs = keras.Input((4,))
    trunk = layers.Dense(10)(inputs)
    early, late = layers.Dense(3)(trunk), layers.Dense(5)(layers.Dense(20)(trunk))
    model = keras.Model(inputs, [early, late])
    assert multiply_adds(model) == [40 + 30, 40 + 200 + 100]
    in_order = multiply_adds(model, with_earlier_outputs=True)
    assert in_order == [40 + 30, 40 + 30 + 200 + 100]


def test_a_shared_layer_counts_each_time_it_is_called():
    shared = layers.Dense(4)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, shared(shared(inputs)))
    assert multiply_adds(model) == [2 * 16]


def test_a_tensor_that_is_read_twice_is_made_once():
    inputs = keras.Input((4,))
    x = layers.Dense(6)(inputs)
    model = keras.Model(inputs, layers.Add()([x, ops.tanh(x)]))
    assert multiply_adds(model) == [24]


def test_models_inside_are_counted_with_what_is_inside():
    inner = networks.convolutional()
    outer = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(1, 1), inner])
    assert multiply_adds(outer)[0] == 64 + multiply_adds(inner)[0]


def test_of_a_model_inside_only_the_outputs_and_inputs_that_are_read_count():
    left, right = keras.Input((4,)), keras.Input((5,))
    inner = keras.Model([left, right], [layers.Dense(3)(left), layers.Dense(2)(right)])
    first, second = keras.Input((6,)), keras.Input((7,))
    one, two = inner([layers.Dense(4)(first), layers.Dense(5)(second)])
    model = keras.Model([first, second], [one, two, layers.Concatenate()([one, two])])
    assert multiply_adds(model) == [24 + 12, 35 + 10, 24 + 12 + 35 + 10]


def test_a_model_that_is_called_twice_counts_twice():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4)])
    inputs = keras.Input((4,))
    assert multiply_adds(keras.Model(inputs, inner(inner(inputs)))) == [2 * 16]


def test_a_model_cut_from_another_counts_from_its_own_inputs():
    inputs = keras.Input((4,))
    x = layers.Dense(6)(inputs)
    y = layers.Dense(3)(x)
    assert multiply_adds(keras.Model(x, y)) == [18]


@pytest.mark.parametrize(
    "make",
    [
        networks.subclassed,
        lambda: keras.Sequential([layers.Dense(3)]),
        lambda: keras_lodin.GQModel(networks.dense()),
        lambda: keras.Sequential([keras.Input((8, 8, 1)), networks.subclassed()]),
    ],
    ids=["subclassed", "not built", "a model that trains another", "subclassed inside"],
)
def test_a_model_without_a_graph_is_refused(make):
    with pytest.raises(ValueError, match=r"Which layers an output depends on.*Received: model="):
        multiply_adds(make())


def test_inputs_of_free_size_are_refused():
    model = single(layers.Conv2D(5, 3, name="first"), (None, None, 3))
    message = r"'first' has an output of free size.*Received: output shape \(None, None, None, 5\)"
    with pytest.raises(ValueError, match=message):
        multiply_adds(model)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.LSTM(3, name="unknown"), (5, 4)),
        (layers.EinsumDense("ab,bc->ac", 3, name="unknown"), (4,)),
        (layers.TimeDistributed(layers.Dense(3), name="unknown"), (5, 4)),
    ],
)
def test_a_layer_whose_products_are_not_known_is_refused(layer, shape):
    message = r"'unknown' of type \w+ are not known.*Received: weights of shapes"
    with pytest.raises(ValueError, match=message):
        multiply_adds(single(layer, shape))


@pytest.mark.slow
def test_multiply_adds_of_the_exits_alone_and_with_the_earlier_ones():
    published = models.MSDNet()
    alone = [24_303_872, 41_306_368, 58_754_304, 74_282_240, 86_865_152]
    assert multiply_adds(published) == alone
    in_order = [24_303_872, 46_026_240, 67_014_400, 87_852_032, 104_491_264]
    assert multiply_adds(published, with_earlier_outputs=True) == in_order
