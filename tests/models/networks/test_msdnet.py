"""The Multi-Scale Dense Network: the published figures, its exits, its sizes."""

from itertools import pairwise

import keras
import numpy as np
import pytest
from keras import layers

from keras_lodin import models
from keras_lodin.utils.keras_internals import call_of


@pytest.fixture(scope="module")
def published():
    return models.build("msdnet", num_classes=10, input_shape=(32, 32, 3))


@pytest.fixture(scope="module")
def of_a_hundred_classes():
    return models.MSDNet(num_classes=100)


def ancestors(tensor):
    """The names of the layers that a symbolic tensor depends on."""
    found, waiting = set(), [tensor]
    while waiting:
        call = call_of(waiting.pop())
        if call.operation.name not in found:
            found.add(call.operation.name)
            waiting += call.inputs
    return found


def block(name):
    """Which exit a layer leads to, by its name; 0 for the input."""
    kind, _, rest = name.partition("_")
    if kind.startswith("exit"):
        return int(kind.removeprefix("exit"))
    if kind.startswith("layer"):
        return (int(kind.removeprefix("layer")) + 3) // 4
    return 1 if rest else 0


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.mark.slow
def test_exits_read_the_published_channels(published):
    read = [published.get_layer(f"exit{i}_1_conv").kernel.shape[2] for i in range(1, 6)]
    assert read == [224, 160, 256, 188, 284]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "before", "after", "scales"), [(8, 80, 40, (2, 3)), (15, 82, 41, (3,))]
)
def test_transitions_end_a_scale_and_halve_the_channels(published, layer, before, after, scales):
    names = [name for name in ancestors(published.outputs[-1]) if f"layer{layer}_" in name]
    assert {name.split("_")[1] for name in names} == {f"scale{scale}" for scale in scales}
    for scale in scales:
        kernel = published.get_layer(f"layer{layer}_scale{scale}_transition_conv").kernel
        factor = 2 ** (scale - 1)
        assert kernel.shape == (1, 1, factor * before, factor * after)


def test_there_are_no_other_transitions(published):
    transitions = [
        layer.name for layer in published.layers if layer.name.endswith("transition_conv")
    ]
    assert {name.split("_")[0] for name in transitions} == {"layer8", "layer15"}
    assert len(transitions) == 3


def test_each_scale_has_half_the_size_of_the_finer_one(published):
    shapes = [published.get_layer(f"layer1_scale{i}_concat").output.shape[1:] for i in (1, 2, 3)]
    assert shapes == [(32, 32, 38), (16, 16, 76), (8, 8, 152)]


def test_exits_pool_two_by_two_positions_as_published(published):
    for i in range(1, 6):
        assert published.get_layer(f"exit{i}_features").input.shape == (None, 2, 2, 128)


def published_operations(network):
    """Operations up to each exit as the published figures count them.

    Whole blocks and all exits so far: products and biases of convolutions and dense layers, one
    for each value that a ReLU returns and that average pooling reads.
    """
    by_block = [0] * 6
    for layer in network.layers:
        operations = 0
        if isinstance(layer, layers.Conv2D):
            operations = np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:3])
        elif isinstance(layer, layers.Dense):
            operations = layer.count_params()
        elif isinstance(layer, layers.ReLU):
            operations = np.prod(layer.output.shape[1:])
        elif isinstance(layer, layers.GlobalAveragePooling2D):
            operations = np.prod(layer.input.shape[1:])
        by_block[block(layer.name)] += int(operations)
    return np.cumsum(by_block[1:])


@pytest.mark.slow
def test_operations_are_the_published_ones(of_a_hundred_classes):
    millions = published_operations(of_a_hundred_classes) / 1e6
    assert millions.round(1).tolist() == [26.6, 51.6, 68.9, 88.4, 105.1]


@pytest.mark.slow
@pytest.mark.grid(2)
def test_trainable_parameters(published, of_a_hundred_classes):
    assert trainable(published) == 2_822_082
    assert trainable(of_a_hundred_classes) == 2_880_132


def test_an_exit_depends_on_its_own_blocks_and_on_no_other_exit(published):
    for i, output in enumerate(published.outputs, start=1):
        needed = ancestors(output)
        assert max(block(name) for name in needed) == i
        assert {name.split("_")[0] for name in needed if name.startswith("exit")} == {f"exit{i}"}


def test_later_exits_build_on_the_blocks_of_earlier_ones(published):
    shared = [ancestors(output) for output in published.outputs]
    for earlier, later in pairwise(shared):
        assert {name for name in earlier if not name.startswith("exit")} < later


@pytest.mark.grid(6)
@pytest.mark.parametrize(
    "shape", [(32, 32, 3), (8, 8, 1), (16, 16, 3), (28, 28, 1), (5, 7, 3), (64, 64, 3)]
)
def test_exits_return_logits_of_images_of_any_size(shape, rng):
    model = models.MSDNet(4, shape, exits=2, growth=2, initial_channels=4)
    outputs = model(rng.uniform(size=(2, *shape)).astype("float32"))
    assert len(outputs) == 2
    for i, logits in enumerate(outputs, start=1):
        assert logits.shape == (2, 4)
        assert logits.dtype.name == "float32"
        assert np.abs(np.sum(logits, axis=-1) - 1.0).max() > 1e-3  # no softmax
        assert model.get_layer(f"exit{i}_features").output.shape == (None, 128)
        assert model.get_layer(f"exit{i}_logits").units == 4


@pytest.mark.slow
def test_smaller_networks_have_the_exits_and_channels_asked_for():
    small = models.MSDNet(exits=3, growth=3, initial_channels=16, input_shape=(16, 16, 1))
    assert len(small.outputs) == 3
    assert small.get_layer("first_scale3_conv").filters == 64
    assert small.get_layer("layer1_scale1_concat").output.shape[-1] == 16 + 3
    assert trainable(small) < 1_000_000
    # Of twelve layers, the fifth and the ninth begin another third.
    transitions = [layer.name for layer in small.layers if layer.name.endswith("transition_conv")]
    assert {name.split("_")[0] for name in transitions} == {"layer5", "layer9"}


def test_a_network_of_one_exit_returns_its_logits_alone():
    model = models.MSDNet(exits=1, growth=1, initial_channels=1, input_shape=(8, 8, 1))
    assert model(np.zeros((2, 8, 8, 1), "float32")).shape == (2, 10)


@pytest.mark.parametrize("option", ["exits", "growth", "initial_channels"])
@pytest.mark.parametrize("value", [0, -2, 1.5])
def test_networks_that_do_not_exist_are_refused(option, value):
    message = rf"`{option}` must be a whole number above 0. Received: {option}={value}"
    with pytest.raises(ValueError, match=message):
        models.MSDNet(**{option: value})


@pytest.mark.slow
def test_all_exits_learn(rng):
    model = models.MSDNet(3, (8, 8, 1), exits=2, growth=2, initial_channels=4)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), [loss] * 2)
    labels = np.arange(48) % 3
    images = (labels[:, None, None, None] / 2 + rng.normal(0, 0.1, (48, 8, 8, 1))).astype("float32")
    history = model.fit(images, [labels] * 2, epochs=10, batch_size=16, verbose=0).history
    for i in (1, 2):
        losses = history[f"exit{i}_logits_loss"]
        assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
def test_a_saved_network_is_the_same_network(tmp_path, rng):
    model = models.MSDNet(3, (8, 8, 1), exits=2, growth=2, initial_channels=4)
    model.save(tmp_path / "model.keras")
    images = rng.uniform(size=(2, 8, 8, 1)).astype("float32")
    loaded = models.load(tmp_path / "model.keras")
    for ours, theirs in zip(model(images), loaded(images), strict=True):
        np.testing.assert_array_equal(ours, theirs)
