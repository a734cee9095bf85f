"""Networks with several exits: one exit alone, and the stages between them."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

import keras_lodin
from keras_lodin.models.exits import ExitStages
from keras_lodin.models.layer_graph import sources
from keras_lodin.utils.keras_internals import call_of
from tests import networks


@pytest.fixture
def network():
    return networks.with_exits()


def all_logits(model, images):
    return [ops.convert_to_numpy(logits) for logits in model(images, training=False)]


def names(part):
    """Layers with weights in one piece of a network."""
    if part is None:
        return set()
    operations = [call_of(t).operation for t in sources(part.wanted, part.inputs_read)]
    read = {id(call_of(tensor).operation) for tensor in part.inputs_read}
    return {o.name for o in operations if getattr(o, "weights", None) and id(o) not in read}


def test_an_exit_is_a_classifier_of_its_own_on_the_same_weights(network, images):
    for number, expected in enumerate(all_logits(network, images)):
        model = keras_lodin.models.at_exit(network, number)
        np.testing.assert_array_equal(model(images, training=False), expected)
        assert model.name == f"with_exits_exit{number + 1}"
        assert {id(weight) for weight in model.weights} <= {id(w) for w in network.weights}
    assert keras_lodin.models.at_exit(network).name == "with_exits_exit3"


def test_an_early_exit_holds_nothing_of_the_later_ones(network):
    model = keras_lodin.models.at_exit(network, 0)
    kept = {layer.name for layer in model.layers if layer.weights}
    assert kept == {"block1", "norm1", "exit1_logits"}


@pytest.mark.parametrize("number", [3, -4])
def test_an_exit_that_is_not_there_is_refused(network, number):
    with pytest.raises(ValueError, match=rf"3 exits, 0 to 2. Received: exit={number}"):
        keras_lodin.models.at_exit(network, number)


def test_one_output_is_no_network_with_exits(classifier):
    with pytest.raises(ValueError, match=r"several exits.*Received: classifier=<Functional"):
        keras_lodin.models.at_exit(classifier)


def test_exits_that_differ_in_their_classes_are_refused():
    model = networks.convolutional()
    other = layers.Dense(3)(layers.Flatten()(model.inputs[0]))
    with pytest.raises(ValueError, match=r"of the same classes. Received: output shapes .*3\)"):
        keras_lodin.models.at_exit(keras.Model(model.inputs[0], [model.output, other]))


def test_exits_that_end_in_a_softmax_are_refused(network):
    softmax = [layers.Softmax()(output) for output in network.outputs]
    with pytest.raises(
        ValueError, match=r"must return logits: take the softmax or sigmoid from.*probabilities"
    ):
        keras_lodin.models.at_exit(keras.Model(network.inputs[0], softmax))


@given(exits=st.lists(st.integers(0, 2), min_size=1, max_size=9))
@settings(max_examples=15)
def test_stages_give_the_logits_of_the_whole_network_whoever_leaves_where(exits):
    network = networks.with_exits()
    stages = ExitStages(network)
    exits = np.sort(exits)
    images = np.random.default_rng(1).uniform(size=(len(exits), 8, 8, 1)).astype("float32")
    whole = all_logits(network, images)
    values, position = stages.begin(ops.convert_to_tensor(images)), 0
    for number in range(len(stages)):
        if position == len(exits):
            break
        values = stages.go(number, values)
        leaving = int((exits == number).sum())
        if leaving:
            here = {key: value[:leaving] for key, value in values.items()}
            np.testing.assert_allclose(
                stages.leave(number, here), whole[number][position : position + leaving], atol=1e-5
            )
        kept = stages.kept(number, values)
        values = {key: value[leaving:] for key, value in kept.items()}
        position += leaving


def test_no_layer_is_in_two_parts_and_none_is_missing(network):
    stages = ExitStages(network)
    parts = [names(part) for part in (*stages._trunks, *stages._exits)]
    assert sum(map(len, parts)) == len(set().union(*parts))
    # What comes after the last exit is part of no exit.
    everything = {layer.name for layer in network.layers if layer.weights}
    assert set().union(*parts) == everything


def test_who_goes_on_pays_for_no_exit_and_who_leaves_for_nothing_later(network):
    stages = ExitStages(network)
    assert names(stages._trunks[0]) == {"block1", "norm1"}
    assert names(stages._exits[0]) == {"exit1_logits"}
    assert names(stages._trunks[1]) == {"skip1", "block2", "norm2"}
    assert names(stages._exits[2]) == {"skip2", "block3", "norm3", "exit3_logits"}


def test_the_network_is_left_as_it_was(network, images):
    before = network.get_config(), all_logits(network, images)
    stages = ExitStages(network)
    stages.leave(0, stages.go(0, stages.begin(ops.convert_to_tensor(images))))
    assert network.get_config() == before[0]
    assert all(len(operation._inbound_nodes) == 1 for operation in network.operations)
    np.testing.assert_array_equal(all_logits(network, images), before[1])


def test_an_exit_whose_logits_a_later_one_reads_works(images):
    network = networks.with_exits(exits=2)
    first, second = network.outputs
    ensemble = keras.Model(network.inputs[0], [first, layers.Add()([first, second])])
    stages = ExitStages(ensemble)
    values = stages.go(0, stages.begin(ops.convert_to_tensor(images)))
    expected = all_logits(ensemble, images)
    np.testing.assert_allclose(stages.leave(0, values), expected[0], atol=1e-5)
    values = stages.go(1, stages.kept(0, values))
    np.testing.assert_allclose(stages.leave(1, values), expected[1], atol=1e-5)
