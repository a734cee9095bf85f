"""The networks of the literature: their sizes, their outputs and their names."""

from functools import partial

import keras
import numpy as np
import pytest

import keras_lodin
from keras_lodin import models


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.mark.grid(6)
@pytest.mark.parametrize(
    ("make", "classes", "count"),
    [
        (models.ResNet18, 10, 11_173_962),
        (models.ResNet18, 100, 11_220_132),
        (models.ResNet34, 10, 21_282_122),
        pytest.param(models.ResNet34, 100, 21_328_292, marks=pytest.mark.slow),
        (models.ResNet20, 10, 269_722),
        (partial(models.WideResNet, 34, 1), 10, 466_714),
        pytest.param(partial(models.WideResNet, 34, 1), 100, 472_564, marks=pytest.mark.slow),
        (partial(models.WideResNet, 40, 4), 10, 8_949_210),
        pytest.param(partial(models.WideResNet, 40, 4), 100, 8_972_340, marks=pytest.mark.slow),
    ],
)
def test_trainable_parameters_are_those_of_the_literature(make, classes, count):
    assert trainable(make(num_classes=classes)) == count


@pytest.mark.grid(4)
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("resnet18", (32, 32, 3)),
        ("resnet20", (32, 32, 3)),
        ("resnet20", (28, 28, 1)),
        ("resnet34", (16, 16, 3)),
        ("wide_resnet_34_1", (32, 32, 3)),
        ("small_convnet", (8, 8, 1)),
        ("small_convnet", (28, 28, 1)),
        ("small_convnet", (5, 7, 3)),
    ],
)
def test_networks_return_logits_of_images(name, shape, rng):
    model = models.build(name, num_classes=5, input_shape=shape)
    logits = model(rng.uniform(size=(2, *shape)).astype("float32"))
    assert logits.shape == (2, 5)
    assert logits.dtype.name == "float32"
    assert np.abs(np.sum(logits, axis=-1) - 1.0).max() > 1e-3  # no softmax
    assert model.name == name
    assert model.layers[-2].name == "features"
    assert keras_lodin.MSPDetector(model).from_logits


@pytest.mark.grid(16)
@pytest.mark.parametrize("name", models.names())
def test_logits_are_float32_under_half_precision(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = models.build(name, num_classes=3, input_shape=(8, 8, 3))
    finally:
        keras.config.set_dtype_policy(before)
    assert model.layers[1].compute_dtype == "bfloat16"
    assert {output.dtype for output in model.outputs} == {"float32"}


def test_resnet20_follows_the_shared_port_of_the_published_weights(shared_data, rng):
    path = shared_data / "models" / "cifar10_resnet20.keras"
    if not path.exists():
        pytest.skip("needs ../shared/data/models/cifar10_resnet20.keras")
    shared = keras.models.load_model(path)
    model = models.ResNet20()
    kinds = (keras.layers.Conv2D, keras.layers.BatchNormalization, keras.layers.Dense)

    def weighted(network):
        return [layer for layer in network.layers if isinstance(layer, kinds)]

    # Both list their layers in the order of the computation.
    assert trainable(shared) == trainable(model) == 269_722
    for ours, theirs in zip(weighted(model), weighted(shared), strict=True):
        ours.set_weights(theirs.get_weights())
        if isinstance(ours, keras.layers.BatchNormalization):
            assert ours.epsilon == theirs.epsilon
    pixels = rng.uniform(0, 255, size=(4, 32, 32, 3)).astype("float32")
    standardised = pixels
    for layer in shared.layers:
        if isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization)):
            standardised = layer(standardised)
    np.testing.assert_allclose(model(standardised), shared(pixels), atol=1e-3)


def test_names_are_those_of_the_command_line():
    published = {"msdnet", "resnet18", "resnet20", "resnet34", "wide_resnet_40_4"}
    assert published | {"small_convnet"} <= set(models.names())


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"'resnet18'.*Received: name='resnet81'"):
        models.build("resnet81", num_classes=10, input_shape=(32, 32, 3))


def test_a_shape_that_is_not_an_images_is_refused():
    with pytest.raises(ValueError, match=r"\(height, width, channels\).*Received: input_shape=\(7"):
        models.build("resnet18", num_classes=10, input_shape=(7,))


@pytest.mark.parametrize("settings", [{"depth": 12}, {"depth": 4}, {"width": 0}])
def test_wide_networks_that_do_not_exist_are_refused(settings):
    with pytest.raises(ValueError, match=r"Received: (depth|width)="):
        models.WideResNet(**settings)


@pytest.mark.parametrize("make", [models.ResNet18, models.ResNet34])
def test_width_sets_the_filters_of_each_stage(make):
    model = make(width=6, input_shape=(16, 16, 3))
    names = ["stem_conv", *(f"stage{stage}_block2_2_conv" for stage in (1, 2, 3, 4))]
    assert [model.get_layer(name).filters for name in names] == [6, 6, 12, 24, 48]
    assert model.get_layer("features").output.shape == (None, 48)


@pytest.mark.parametrize("make", [models.ResNet18, models.ResNet34])
@pytest.mark.parametrize("width", [0, -1, 16.0])
def test_widths_that_do_not_exist_are_refused(make, width):
    with pytest.raises(ValueError, match=rf"`width` must be .* Received: width={width}"):
        make(width=width)
