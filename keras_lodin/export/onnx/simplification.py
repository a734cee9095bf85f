"""tf2onnx's simplifications of a graph, in a time that grows with its size and not its square.

Its names of tf2onnx are not public, and are used as 1.17 has them, as are those that
`conversion` changes for a while (`tests/export/test_onnx_simplification.py` holds the ones here to
their contract).
"""

from __future__ import annotations

from collections.abc import Sequence

from tf2onnx.graph import Graph, Node
from tf2onnx.optimizer import (
    BackToBackOptimizer,
    ConstFoldOptimizer,
    IdentityOptimizer,
    MergeDuplicatedNodesOptimizer,
    TransposeOptimizer,
)


class _Constants(ConstFoldOptimizer):
    """Makes a constant of what is computed from constants."""

    def _optimize_at_current_graph_level(self, graph: Graph) -> Graph:
        # tf2onnx looks at all nodes again after each pass; only readers of a new constant matter.
        waiting = list(graph.get_nodes())
        while waiting:
            node = waiting.pop()
            if node.graph is None or self._should_skip(node):
                continue
            if not self._all_inputs_are_const(node.inputs):
                continue
            readers = [one for name in node.output for one in graph.find_output_consumers(name)]
            if self._fold_node(node, graph):
                waiting += readers
        return graph


class _Identities(IdentityOptimizer):
    """Takes out what passes its input on."""

    @staticmethod
    def _handle_non_graph_output_identity(graph: Graph, identity: Node) -> bool:
        # tf2onnx looks for the readers among all nodes; the graph knows them.
        graph.replace_all_inputs(identity.output[0], identity.input[0])
        graph.remove_node(identity.name)
        return True


class _Transposes(TransposeOptimizer):
    """Moves transposes towards the outputs, where they meet their inverses."""

    def _optimize_at_current_graph_level(self, graph: Graph) -> Graph:
        # tf2onnx begins with the first node again after each step.
        self._g = graph
        self.pre_optimize_action()
        moved = True
        while moved:
            moved = False
            for node in [node for node in self.nodes if node.type == "Transpose"]:
                while node.graph is not None and self._moves(node):
                    moved = True
                # It was split into one for each of its readers.
                moved = moved or node.graph is None
        self.merge_duplicated_transposes()
        self.post_optimize_action()
        return graph

    def _moves(self, node: Node) -> bool:
        """Takes a transpose one step on, or out if it does nothing; False if it stays."""
        if self._handle_nhwc_tranpose(node):
            return True
        order = node.get_attr_value("perm") if node.graph is not None else None
        if order is None or order != sorted(order):
            return False
        self._remove_useless_tranpose(node)
        return True

    def _transpose_handler(self, node: Node, reader: Node) -> bool:
        # tf2onnx looks for a node of the name of the reader's output here, and finds none.
        first, second = (one.get_attr_value("perm") for one in (node, reader))
        order = [first[axis] for axis in second]
        if order == sorted(order):
            self._g.replace_all_inputs(reader.output[0], node.input[0])
            self._g.remove_node(reader.name)
        else:
            self._g.replace_input(reader, node.output[0], node.input[0], 0)
            reader.set_attr("perm", order)
        self._g.remove_node(node.name)
        return True


class _Duplicates(MergeDuplicatedNodesOptimizer):
    """Makes one node of those that compute the same."""

    def _optimize_at_current_graph_level(self, graph: Graph) -> Graph:
        # In this order one pass does it: what a node reads has been merged before. tf2onnx takes
        # one pass for each node of the longest chain.
        graph.topological_sort(graph.get_nodes())
        kept: dict[tuple[object, ...], list[Node]] = {}
        for node in list(graph.get_nodes()):
            if self._skip_node_type(node) or node.is_graph_input_default_const():
                continue
            content = hash(node.attr["value"].t.raw_data) if node.is_const() else None
            alike = kept.setdefault((node.type, *node.input, len(node.output), content), [])
            twin = next(
                (other for other in alike if self._have_equal_attr(node, other, graph)), None
            )
            if twin is None or set(node.output) & set(graph.outputs):
                alike.append(node)
                continue
            for old, new in zip(node.output, twin.output, strict=True):
                graph.replace_all_inputs(old, new)
            graph.remove_node(node.name)
        return graph


# Constants first: a transpose stops at a constant that is still being computed.
_SIMPLIFICATIONS = (_Constants, _Identities, _Transposes, _Duplicates)


def without_unused(graph: Graph, outputs: Sequence[str]) -> None:
    """Takes out the nodes that no output depends on; the graph's inputs stay.

    In the place of `Graph.delete_unused_nodes`, which walks the graph once for each output, and
    puts all nodes that it found together once for each input.
    """
    waiting = [*outputs, *(name for node in graph.inputs for name in node.output)]
    kept: set[str] = set()
    while waiting:
        node = graph.get_node_by_output(waiting.pop(), search_in_parent_graphs=False)
        if node is not None and node.name not in kept:
            kept.add(node.name)
            waiting += node.input
    graph.reset_nodes([node for node in graph.get_nodes() if node.name in kept])


def simplified(graph: Graph) -> Graph:
    """The graph with fewer nodes.

    Not by tf2onnx's own loop, which takes stock of all nodes before and after each simplification.

    Raises:
        Exception: of many kinds, if a simplification fails. The graph is then spoilt.
    """
    without_unused(graph, graph.outputs)
    for kind in _SIMPLIFICATIONS:
        graph = kind()._optimize(graph)
    # Of a chain it takes one link at a time.
    count = len(graph.get_nodes()) + 1
    while len(graph.get_nodes()) < count:
        count = len(graph.get_nodes())
        graph = BackToBackOptimizer()._optimize(graph)
    return graph
