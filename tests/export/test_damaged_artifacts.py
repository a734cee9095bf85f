"""Artifacts that were damaged, edited or forged: one sentence, and never another verdict."""

import json
import shutil
import zipfile

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf

from keras_lodin.detectors import ODINDetector
from keras_lodin.export import load_artifact, seal
from keras_lodin.export.file_operations import _OPERATIONS, file_operations
from keras_lodin.export.metadata import (
    METADATA_FILE,
    METADATA_KEY,
    METADATA_VERSION,
    parsed_metadata,
)

NAMES = ("artifact", "detector.onnx", "detector.tflite", "detector.keras")
IMAGES = np.random.default_rng(7).uniform(0, 1, (5, 8, 8, 3)).astype("float32")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """One detector in every format."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(4)]
    detector = ODINDetector(keras.Sequential(layers), class_names=["a", "b", "c", "d"])
    detector.calibrate(IMAGES, tpr=0.5, verbose=0)
    folder = tmp_path_factory.mktemp("exported")
    detector.export(folder / NAMES[0], verbose=False)
    detector.export(folder / NAMES[1], format="onnx", verbose=False)
    detector.export(folder / NAMES[2], format="litert", verbose=False)
    detector.save(folder / NAMES[3])
    return folder


@pytest.fixture(scope="module")
def scores(exported):
    return load_artifact(exported / "detector.keras").score(IMAGES)["score"]


def copy_of(source, target):
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)
    return target


def weights_of(path):
    """The file of an artifact that holds its weights."""
    return path / "variables" / "variables.data-00000-of-00001" if path.is_dir() else path


def refused_or_right(path, scores):
    """Whether an artifact is refused; it may only be accepted if its scores are the right ones."""
    try:
        found = load_artifact(path).score(IMAGES)["score"]
    except ValueError as error:
        if "Received: " in str(error):
            return True
        raise
    np.testing.assert_allclose(found, scores, rtol=1e-5)
    return False


@pytest.mark.parametrize("name", NAMES)
def test_artifact_that_is_whole_is_taken(name, exported, scores):
    assert not refused_or_right(exported / name, scores)


@pytest.mark.parametrize("name", NAMES)
def test_one_bit_anywhere_is_found_or_harmless(name, exported, scores, tmp_path, rng):
    path = copy_of(exported / name, tmp_path / name)
    file = weights_of(path)
    whole = file.read_bytes()
    refused = 0
    places = [*rng.integers(0, len(whole), 30), 0, len(whole) - 1, len(whole) // 2]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged)
        refused += refused_or_right(path, scores)
    # Of zip archives a few bytes mean nothing, such as the times of their members.
    assert refused > 0.7 * len(places)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_part_of_a_file_is_refused(name, kept, exported, scores, tmp_path):
    path = copy_of(exported / name, tmp_path / name)
    file = weights_of(path)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(kept * len(whole))])
    assert refused_or_right(path, scores)


@pytest.mark.parametrize(
    "file",
    [
        "saved_model.pb",
        "fingerprint.pb",
        "variables",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
        "assets.extra",
        "assets.extra/keras_lodin.json",
    ],
)
def test_saved_model_without_a_file_is_refused(file, exported, scores, tmp_path):
    path = copy_of(exported / "artifact", tmp_path / "artifact")
    shutil.rmtree(path / file) if (path / file).is_dir() else (path / file).unlink()
    assert refused_or_right(path, scores)


def test_what_tensorflow_leaves_to_others_may_be_added(exported, scores, tmp_path):
    path = copy_of(exported / "artifact", tmp_path / "artifact")
    (path / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"requests")
    (path / "variables" / ".DS_Store").write_bytes(b"of a desktop")
    assert not refused_or_right(path, scores)


def with_fields(path, change):
    """Edits the metadata of an artifact, as a person would."""
    if path.suffix == ".onnx":
        model = onnx.load(path)
        for item in model.metadata_props:
            if item.key == METADATA_KEY:
                item.value = json.dumps(change(json.loads(item.value)))
        onnx.save(model, path)
    elif path.suffix == ".tflite":
        with zipfile.ZipFile(path) as archive:
            text = archive.read("keras_lodin.json")
            start = archive.infolist()[0].header_offset
        path.write_bytes(path.read_bytes()[:start])
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("keras_lodin.json", json.dumps(change(json.loads(text))))
    else:
        file = path / METADATA_FILE
        file.write_text(json.dumps(change(json.loads(file.read_text()))))


WRONG = {
    "keras_lodin_version": [None, 3, "", "newest"],
    "metadata_version": [0, "2", METADATA_VERSION + 1, True],
    "detector": [None, 5, "", "[/x]"],
    "num_classes": [None, 1, -4, "4", 4.5, True, 10**30],
    "class_names": [["a"], [1, 2, 3, 4], "abcd", [], {"a": 1}, ["a", "b", "c", None]],
    "configuration_version": [None, 0, "1", True],
    "configuration": [None, [], "rank=2"],
    "temperature": [0, -1.0, float("nan"), float("inf"), "1000", [1], 10**400],
    "epsilon": [-0.1, float("nan"), "0", {}],
    "input_range": [
        *(None, [], [0], [1, 0], [0, 0], [0, float("nan")], [0, float("inf")], "01"),
        *([0, "1"], [0, 1, 2], [[0, 1], [1]], [[], []], [[0, 2], [1, 1]], [True, 2]),
    ],
    "channel_std": [0.5, [0.0], ["a"], [float("nan")]],
    "calibrated": [None, 1, "yes"],
    "threshold": [float("nan"), float("inf"), "0.5", [0.1], True],
    "tpr": [0, 1.5, -1, float("nan"), "0.95", True],
    "confidence": [0, 1.5, float("nan"), "0.9", True],
    "p_value_count": [0, -3, 2.5, "40", True],
    "p_value_error": [None, -0.1, 1, float("nan"), "0"],
    "score_direction": [None, "lower is more in-distribution", 1],
    "is_ood_rule": [None, "score > threshold", []],
    "input_name": [None, "", 3, "a b", ["images"]],
    "input_shape": [
        *(None, [], [None], [1, 8, 8, 3], [None, 0], [None, -8, 8, 3], [None, 8.5, 8, 3]),
        *([None, 20000, 20000, 3], [None, "8", 8, 3], "8", [None, True, 8, 3], [None, 10**40]),
    ],
    "input_dtype": [None, "uint8", 32],
    "side_inputs": [None, "complexity", ["temperature"], [3], ["complexity", "complexity"]],
    "output_names": [
        *(None, [], ["logits"], ["logits", "is_ood", "score"], "logits"),
        ["logits", "score", "is_ood"],
    ],
    "data_format": [None, "first", 1],
    "opset": [None, 0, "18"],
    "sha256": [None, "", "0" * 63, 5],
}


@pytest.fixture(scope="module")
def metadata(exported):
    found = json.loads((exported / "artifact" / METADATA_FILE).read_text())
    return {**found, "data_format": "channels_last", "opset": 18}


@pytest.mark.parametrize("field", WRONG)
def test_field_that_cannot_be_as_it_is_is_named(field, metadata):
    for value in WRONG[field]:
        with pytest.raises(ValueError, match=rf"(`{field}`|{field} ).*Received: {field}="):
            parsed_metadata(json.dumps({**metadata, field: value}), "file.onnx")


def test_field_that_is_missing_is_named(metadata):
    in_some = {"metadata_version", "data_format", "opset", "sha256"}
    for field in set(metadata) - in_some - {"configuration_version", "configuration"}:
        text = json.dumps({key: value for key, value in metadata.items() if key != field})
        with pytest.raises(ValueError, match=rf"field `{field}`.*Received: no {field}, path=file"):
            parsed_metadata(text, "file.onnx")


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "null", '"text"', "[" * 100_000, "{}", b"\xff\xfe{}", "1e999"]
)
def test_metadata_that_are_no_fields_are_refused(text):
    with pytest.raises(ValueError, match=r"artifact's metadata.*Received: .*path=file"):
        parsed_metadata(text, "file.onnx")


@pytest.mark.parametrize(
    "change",
    [
        {"input_range": [[0.0, 0.0], [1.0, 5.0]]},
        {"class_names": None},
        {"class_names": ["[/x]", "=1+1", "ä", ""]},
        {"temperature": None, "epsilon": None},
        {"threshold": None},
        {"channel_std": [0.2, 0.3, 0.1]},
        {"input_shape": [None, None, None, 3]},
        {"something": "of a later version"},
        {"configuration_version": 99, "configuration": {"something": "of a later version"}},
    ],
)
def test_fields_that_can_be_are_taken(change, metadata):
    assert parsed_metadata(json.dumps({**metadata, **change}), "f")["num_classes"] == 4


def test_every_edit_of_the_metadata_is_refused_and_the_field_named(exported, tmp_path):
    for name in NAMES[:3]:
        path = copy_of(exported / name, tmp_path / name)
        with_fields(path, lambda found: {**found, "threshold": "0.5"})
        with pytest.raises(ValueError, match="field `threshold`"):
            load_artifact(path)
        with_fields(path, lambda found: {**found, "threshold": -5.0})
        with pytest.raises(ValueError, match="not as it was exported"):
            load_artifact(path)


@pytest.mark.parametrize("name", NAMES[:3])
def test_edit_on_purpose_is_accepted_by_sealing(name, exported, scores, tmp_path):
    path = copy_of(exported / name, tmp_path / name)
    with_fields(path, lambda found: {**found, "class_names": ["e", "f", "g", "h"]})
    seal(path)
    assert not refused_or_right(path, scores)
    assert load_artifact(path).class_names == ("e", "f", "g", "h")


def test_packed_files_of_others_survive_sealing(exported, tmp_path):
    path = copy_of(exported / "detector.tflite", tmp_path / "detector.tflite")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "a\nb\nc\nd\n")
    load_artifact(path)  # the model is the same
    seal(path)
    load_artifact(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt") == b"a\nb\nc\nd\n"


def test_what_has_no_digest_is_not_sealed(exported, tmp_path):
    with pytest.raises(FileNotFoundError, match="no artifact"):
        seal(tmp_path / "nothing.onnx")
    with pytest.raises(ValueError, match="Expected an exported artifact"):
        seal(exported / "detector.keras")
    for name in ("x.onnx", "x.tflite"):
        (tmp_path / name).write_bytes(b"no model")
        with pytest.raises(ValueError, match="Received: path="):
            seal(tmp_path / name)
    with pytest.raises(ValueError, match="no metadata"):
        seal(tmp_path)


@pytest.mark.parametrize("name", NAMES[:3])
def test_artifact_of_the_version_before_has_no_digest_and_is_taken(
    name, exported, scores, tmp_path
):
    path = copy_of(exported / name, tmp_path / name)

    def before(found):
        return {
            key: value for key, value in found.items() if key not in ("metadata_version", "sha256")
        }

    with_fields(path, before)
    if path.suffix == ".onnx":
        model = onnx.load(path)
        del model.metadata_props[-1]
        onnx.save(model, path)
    assert not refused_or_right(path, scores)
    # With one of the two gone, the other tells that there was a digest.
    if path.suffix != ".onnx":
        for field, value in (("metadata_version", 2), ("sha256", "0" * 64)):
            with_fields(path, lambda found: {**before(found), field: value})  # noqa: B023
            with pytest.raises(ValueError, match="not as it was exported"):
                load_artifact(path)


@pytest.mark.parametrize(
    "change",
    [
        {"num_classes": 5, "class_names": None},
        {"input_shape": [None, 8, 8, 1]},
        {"input_shape": [None, 192]},
        {"input_name": "pictures"},
        {"side_inputs": ["complexity"]},
    ],
)
@pytest.mark.parametrize("name", NAMES[:3])
def test_metadata_of_another_model_are_refused(name, change, exported, tmp_path):
    path = copy_of(exported / name, tmp_path / name)
    with_fields(path, lambda found: {**found, **change})
    seal(path)
    with pytest.raises(ValueError, match="of another model"):
        load_artifact(path)


def forged(exported, path, serve):
    """A SavedModel of a function, with the metadata of another."""
    module = tf.Module()
    module.serve = tf.function(
        serve, input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32, name="images")]
    )
    tf.saved_model.save(module, str(path), {"serving_default": module.serve})
    shutil.copytree(exported / "artifact" / "assets.extra", path / "assets.extra")
    seal(path)


def outputs(images):
    score = tf.reduce_mean(images, [1, 2, 3])
    return {
        "logits": tf.stack([score] * 4, 1),
        "score": score,
        "is_ood": score < 0,
        "p_value": score,
    }


def test_program_that_reaches_for_files_is_refused_and_not_run(exported, tmp_path):
    stolen = str(tmp_path / "stolen")

    @tf.function
    def nested(text):
        tf.io.write_file(stolen, text)

    def writes(images):
        nested(tf.io.read_file("/etc/hostname"))
        return outputs(images)

    def branches(images):
        tf.cond(
            tf.size(images) > 0,
            lambda: tf.print(tf.io.matching_files("/*"), output_stream=f"file://{stolen}"),
            tf.no_op,
        )
        return outputs(images)

    def python(images):
        tf.py_function(lambda: None, [], [])
        return outputs(images)

    def restores(images):
        tf.raw_ops.RestoreV2(
            prefix="/x", tensor_names=["a"], shape_and_slices=[""], dtypes=["int8"]
        )
        return outputs(images)

    def prints(images):
        tf.print(images)
        return outputs(images)

    for number, (serve, names) in enumerate(
        [
            (writes, ["ReadFile", "WriteFile"]),
            (branches, ["MatchingFiles", "PrintV2"]),
            (python, ["EagerPyFunc"]),
            (restores, ["RestoreV2"]),
        ]
    ):
        path = tmp_path / str(number)
        forged(exported, path, serve)
        assert file_operations(path) == names
        with pytest.raises(ValueError, match=rf"Received: the operations {', '.join(names)} in"):
            load_artifact(path)
    assert not (tmp_path / "stolen").exists()
    forged(exported, tmp_path / "prints", prints)
    assert file_operations(tmp_path / "prints") == []
    load_artifact(tmp_path / "prints")


@pytest.mark.parametrize(
    "name",
    [
        *("ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "EagerPyFunc", "PyFuncStateless"),
        *("TextLineDataset", "TFRecordDatasetV2", "CacheDatasetV2", "SaveDatasetV2", "SqlDataset"),
        *("SnapshotDatasetV2", "DataServiceDatasetV4", "RpcCall", "ImmutableConst", "LMDBReader"),
        *("CreateSummaryFileWriter", "WriteScalarSummary", "DebugIdentityV3", "SaveV2", "Restore"),
        *("InitializeTableFromTextFileV2", "LoadAndRemapMatrix", "ExperimentalCSVDataset"),
    ],
)
def test_operations_that_reach_out_are_known(name):
    assert _OPERATIONS.fullmatch(name)


@pytest.mark.parametrize(
    "name",
    [
        *("ReadVariableOp", "AssignVariableOp", "VarHandleOp", "StatefulPartitionedCall", "Const"),
        *("TensorArrayWriteV3", "LogSoftmax", "Print", "RandomUniform", "LookupTableFindV2"),
        *("ShardedFilename", "MergeSummary", "XlaCallModule", "TensorArrayReadV3", "Snapshot"),
    ],
)
def test_operations_of_networks_do_not(name):
    assert not _OPERATIONS.fullmatch(name)


def test_damaged_program_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\xff" * 20)
    with pytest.raises(ValueError, match=r"saved_model\.pb is damaged"):
        file_operations(tmp_path)


def zipped(path, change):
    """Rewrites a .keras archive: `change` maps a member's name to new bytes, or None to drop it."""
    with zipfile.ZipFile(path) as archive:
        members = {item.filename: archive.read(item) for item in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members, **change}.items():
            if content is not None:
                archive.writestr(name, content)


@pytest.mark.parametrize(
    "change",
    [
        {"config.json": None},
        {"config.json": b"{"},
        {"config.json": b"[]"},
        {"config.json": b"null"},
        {"config.json": b"\xff\xfe"},
        {"config.json": b'{"class_name": "Nothing", "config": {}}'},
        {"metadata.json": b"no JSON", "config.json": b"{}"},
        {"model.weights.h5": None},
        {"model.weights.h5": b""},
        {"model.weights.h5": b"no HDF5"},
        {"config.json": None, "metadata.json": None, "model.weights.h5": None},
    ],
)
def test_keras_file_with_other_members_is_refused(change, exported, scores, tmp_path):
    path = copy_of(exported / "detector.keras", tmp_path / "detector.keras")
    zipped(path, change)
    with pytest.raises(ValueError, match=r"Received: path=.*detector\.keras"):
        load_artifact(path)


def test_weights_of_another_network_are_refused(exported, tmp_path):
    path = copy_of(exported / "detector.keras", tmp_path / "detector.keras")
    layers = [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(5)]
    ODINDetector(keras.Sequential(layers)).save(tmp_path / "other.keras")
    with zipfile.ZipFile(tmp_path / "other.keras") as archive:
        zipped(path, {"model.weights.h5": archive.read("model.weights.h5")})
    with pytest.raises(ValueError, match=r"could not be read.*Received: path=.*detector\.keras"):
        load_artifact(path)


def test_members_of_others_in_a_keras_file_are_ignored(exported, scores, tmp_path):
    path = copy_of(exported / "detector.keras", tmp_path / "detector.keras")
    zipped(path, {"readme.txt": b"of a person"})
    assert not refused_or_right(path, scores)
