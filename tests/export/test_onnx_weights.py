"""Weights of an ONNX model: each once, in the layout that it is read in."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from keras_lodin.export.onnx.weights import with_weights
from tests.export.networks import content


def model_reading(*nodes, shape, initializers=()):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        list(nodes),
        "reads a weight",
        [value("weight", TensorProto.FLOAT, shape)],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in initializers],
    )
    return helper.make_model(graph)


def stored(model, weight):
    whole = onnx.load_from_string(content(with_weights(model, {"weight": weight})))
    assert not whole.graph.input
    (found,) = [tensor for tensor in whole.graph.initializer if tensor.name == "weight"]
    return numpy_helper.to_array(found), [node.op_type for node in whole.graph.node]


def test_a_weight_that_is_only_read_transposed_is_stored_so(rng):
    weight = rng.normal(size=(2, 3, 4)).astype("float32")
    turn = helper.make_node("Transpose", ["weight"], ["turned"], perm=[2, 0, 1])
    model = model_reading(turn, helper.make_node("Neg", ["turned"], ["y"]), shape=(2, 3, 4))
    array, operations = stored(model, weight)
    np.testing.assert_array_equal(array, weight.transpose(2, 0, 1))
    assert operations == ["Neg"]


def test_a_weight_that_is_only_read_reshaped_is_stored_so(rng):
    weight = rng.normal(size=(2, 6)).astype("float32")
    model = model_reading(
        helper.make_node("Reshape", ["weight", "shape"], ["other"]),
        helper.make_node("Neg", ["other"], ["y"]),
        shape=(2, 6),
        initializers=[("shape", np.array([4, 3], "int64"))],
    )
    array, operations = stored(model, weight)
    np.testing.assert_array_equal(array, weight.reshape(4, 3))
    assert operations == ["Neg"]


def test_a_weight_that_is_read_in_two_layouts_stays_as_it_is(rng):
    weight = rng.normal(size=(3, 3)).astype("float32")
    turn = helper.make_node("Transpose", ["weight"], ["turned"], perm=[1, 0])
    model = model_reading(turn, helper.make_node("Add", ["weight", "turned"], ["y"]), shape=(3, 3))
    array, operations = stored(model, weight)
    np.testing.assert_array_equal(array, weight)
    assert operations == ["Transpose", "Add"]
