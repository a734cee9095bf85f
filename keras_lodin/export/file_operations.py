"""What a SavedModel's program can do beside arithmetic."""

from __future__ import annotations

import re
from pathlib import Path

import tensorflow as tf

from keras_lodin.gradients.tensorflow.tensorflow_internals import parsed_saved_model

# Operations that read or write files, open connections or run Python. No detector needs one.
_OPERATIONS = re.compile(
    r"(Experimental)?("
    r"\w*PyFunc\w*|ReadFile|WriteFile|MatchingFiles\w*|ImmutableConst|RecordInput|DumpTensor"
    r"|(FixedLengthRecord|TFRecord|TextLine|WholeFile|Identity|LMDB)Reader(V\d)?"
    r"|(FixedLengthRecord|TFRecord|TextLine|CSV|Sql|LMDB|Save|Load|Cache)Dataset(V\d)?"
    r"|\w*Snapshot\w*Dataset\w*|DatasetToTFRecord|DistributedSave|DataService\w*"
    r"|RegisterDataset\w*|Rpc\w*|TryRpc|RemoteFusedGraphExecute|FileSystemSetConfiguration"
    r"|InitializeTableFromTextFile(V\d)?|LoadAndRemapMatrix|GenerateVocabRemapping"
    r"|FixedUnigramCandidateSampler|Skipgram|CalibrationStatisticsSaver"
    r"|CreateSummary(File|Db)Writer|Write\w*Summary|ImportEvent"
    r"|Debug(Identity|NanCount|NumericSummary)(V\d)?"
    r"|Save|SaveV2|SaveSlices|Restore|RestoreV2|RestoreSlice|DTensorRestoreV2|MergeV2Checkpoints"
    r")"
)
# Those of the functions that every SavedModel holds for its own variables, and does not run.
_OF_SAVERS = {"SaveV2", "RestoreV2", "MergeV2Checkpoints"}


def file_operations(folder: Path) -> list[str]:
    """The operations of a SavedModel that reach beyond its own tensors.

    Nested functions are searched, and what no signature runs as well. An operation that a program
    was taught by a library of its own is not known here.

    Returns:
        the names of operations such as `WriteFile` or `EagerPyFunc`, sorted; mostly none.

    Raises:
        ValueError: if `saved_model.pb` is damaged, or is of TensorFlow 1, which runs what it finds
            on loading.
    """
    model = parsed_saved_model((folder / "saved_model.pb").read_bytes())
    if model is None or not any(graph.HasField("object_graph_def") for graph in model.meta_graphs):
        raise ValueError(
            "The file saved_model.pb is damaged, or of TensorFlow 1. Expected a SavedModel as "
            f"`detector.export(path)` writes it. Received: path={folder}"
        )
    found: set[str] = set()
    for graph in model.meta_graphs:
        savers = _saver_functions(graph)
        found.update(filter(None, map(_reaching_out, graph.graph_def.node)))
        for function in graph.graph_def.library.function:
            allowed = _OF_SAVERS if function.signature.name in savers else set()
            found |= set(filter(None, map(_reaching_out, function.node_def))) - allowed
    return sorted(found)


def _reaching_out(node: tf.compat.v1.NodeDef) -> str | None:
    """The name of a node's operation if it is one of those, else None."""
    # `tf.print` is harmless, but for one into a file.
    into_file = node.op == "PrintV2" and node.attr["output_stream"].s.startswith(b"file")
    return str(node.op) if into_file or _OPERATIONS.fullmatch(node.op) else None


def _saver_functions(graph: tf.compat.v1.MetaGraphDef) -> set[str]:
    """Names of the functions that save and restore variables, where nothing else calls them."""
    places = {graph.saver_def.save_tensor_name, graph.saver_def.restore_op_name}
    names = {place.partition(":")[0] for place in places}
    savers = {node.attr["f"].func.name for node in graph.graph_def.node if node.name in names}
    called = set(graph.object_graph_def.concrete_functions)
    nodes = [node for node in graph.graph_def.node if node.name not in names]
    for function in graph.graph_def.library.function:
        nodes += function.node_def
    for node in nodes:
        for value in node.attr.values():
            called.update(item.name for item in (value.func, *value.list.func))
    return savers - called
