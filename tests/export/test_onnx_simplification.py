"""Fewer nodes that compute the same: transposes, duplicates, identities, constants."""

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper
from tf2onnx.graph import GraphUtil

from keras_lodin.export.onnx import conversion, simplification
from tests.export.networks import content

LAST, FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


@pytest.fixture
def model():
    """Two branches of the same, each between transposes, and numbers that are known."""
    node = helper.make_node
    nodes = [node("Identity", ["x"], ["same"])]
    for name in ("a", "b"):
        before = "same"
        for number in range(3):
            names = [f"{name}_{what}_{number}" for what in ("last", "moved", "first")]
            nodes.append(node("Transpose", [before], [names[0]], perm=LAST))
            nodes.append(node("Relu", names[:1], names[1:2]))
            nodes.append(node("Transpose", names[1:2], names[2:], perm=FIRST))
            before = names[2]
    nodes += [
        node("Add", ["one", "one"], ["two"]),
        node("Mul", ["a_first_2", "two"], ["twice"]),
        node("Add", ["twice", "b_first_2"], ["y"]),
    ]
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 3, 4, 5]) for n in "xy"]
    one = numpy_helper.from_array(np.ones((1,), "float32"), "one")
    graph = helper.make_graph(nodes, "branches", value[:1], value[1:], [one])
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=onnx.IR_VERSION_2023_5_5
    )


def simplified(model):
    graph = GraphUtil.create_graph_from_onnx_model(model)
    return simplification.simplified(graph).make_model("branches")


def kinds(model):
    return sorted(node.op_type for node in model.graph.node)


def test_what_cancels_repeats_or_is_known_goes_and_the_result_stays(model, rng):
    x = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    small = simplified(model)
    assert kinds(small) == ["Add", "Mul", "Relu", "Relu", "Relu"]
    before, after = (
        onnxruntime.InferenceSession(
            given.SerializeToString(), providers=["CPUExecutionProvider"]
        ).run(None, {"x": x})[0]
        for given in (model, small)
    )
    np.testing.assert_array_equal(before, after)


def test_what_no_output_depends_on_goes_and_an_input_stays(model):
    model.graph.node.append(helper.make_node("Tan", ["a_last_0"], ["unread"]))
    other = helper.make_tensor_value_info("other", TensorProto.FLOAT, [2])
    model.graph.input.append(other)
    graph = GraphUtil.create_graph_from_onnx_model(model)
    simplification.without_unused(graph, graph.outputs)
    left = {node.type for node in graph.get_nodes()}
    assert "Tan" not in left
    assert {"Relu", "Transpose", "Mul", "Identity"} <= left
    assert [name for node in graph.inputs for name in node.output] == ["x", "other"]


def test_simplifying_takes_no_more_steps_for_each_node_of_a_larger_graph(monkeypatch):
    """tf2onnx itself begins anew after each step, and so takes as many as there are nodes."""

    def steps(length):
        names = [f"value_{n}" for n in range(2 * length + 1)]
        nodes = []
        for n in range(length):
            nodes.append(
                helper.make_node("Transpose", [names[2 * n]], [names[2 * n + 1]], perm=LAST)
            )
            nodes.append(helper.make_node("Tan", [names[2 * n + 1]], [names[2 * n + 2]]))
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [3] * 4)
            for name in (names[0], names[-1])
        ]
        chain = helper.make_graph(nodes, "chain", ends[:1], ends[1:])
        counted = []
        whole = simplification._Transposes._moves
        monkeypatch.setattr(
            simplification._Transposes,
            "_moves",
            lambda self, node: counted.append(node) or whole(self, node),
        )
        simplified(helper.make_model(chain, opset_imports=[helper.make_opsetid("", 18)]))
        monkeypatch.setattr(simplification._Transposes, "_moves", whole)
        return len(counted)

    assert steps(40) == 2 * steps(20)


def test_a_graph_whose_simplification_fails_is_written_as_it_was(monkeypatch, rng):
    @tf.function(input_signature=[tf.TensorSpec((None, 3), name="x")])
    def function(x):
        return {"y": tf.nn.relu(x) + 1.0}

    def spoils(graph):
        for node in list(graph.get_nodes()):
            graph.remove_node(node.name)
        raise KeyError("a name that is not there")

    monkeypatch.setattr(conversion, "simplified", spoils)
    x = rng.normal(size=(4, 3)).astype("float32")
    session = onnxruntime.InferenceSession(
        content(conversion.convert(function, [])), providers=["CPUExecutionProvider"]
    )
    np.testing.assert_array_equal(session.run(["y"], {"x": x})[0], np.maximum(x, 0.0) + 1.0)
