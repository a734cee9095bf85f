"""An export on another backend: in a process of its own, whose backend is TensorFlow."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_lodin.export.format_limit_error import FormatLimitError
from keras_lodin.export.outputs import outputs
from keras_lodin.export.parity import Recorded
from keras_lodin.export.scorer import Scorer
from keras_lodin.export.trial_inputs import checked_samples, random_batches
from keras_lodin.utils.late_keras import keras, ops
from keras_lodin.utils.needed_packages import has_tensorflow
from keras_lodin.utils.progress import waiting

# The files by which the two processes speak, in a folder of theirs.
DETECTOR_FILE, REQUEST_FILE, ANSWER_FILE = "detector.keras", "request", "answer"

# Isolated from the folder that it starts in: what can be imported is what can be imported here.
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from keras_lodin.export.tensorflow_process import main; main(sys.argv[2])"
)

# How long it may take to clear up, in seconds, if it is not wanted any more.
_PATIENCE = 10.0


@dataclass(frozen=True)
class Request:
    """What the other process is to do.

    Attributes:
        path: of the artifact.
        format: one of `FORMATS`.
        verbose: whether to print what was written.
        options: of the format.
        recorded: what the detector gave here.
        modules: those to import first, for the classes and functions in them.
        keras_settings: by the names of the functions of `keras.config` without their `set_`.
    """

    path: Path
    format: str
    verbose: bool
    options: dict[str, Any]
    recorded: Recorded
    modules: list[str]
    keras_settings: dict[str, object]


@dataclass(frozen=True)
class Answer:
    """How it ended.

    Attributes:
        error: None for well, else what is to be raised here.
        limit: None, or what makes the `FormatLimitError` that was behind it.
    """

    error: Exception | None = None
    limit: tuple[str, str, str | None] | None = None


def export_by_tensorflow(
    detector: Scorer,
    path: str | os.PathLike[str],
    format: str,
    *,
    verbose: bool,
    options: dict[str, Any],
) -> None:
    """Exports a detector in another process, and raises here what is raised there.

    The artifact is held to what TensorFlow gives, as it is everywhere, and to what the detector
    gives here: outputs, and the input gradient where it takes one.

    Args:
        detector: the detector.
        path: what to write.
        format: one of `FORMATS`.
        verbose: whether to print what was written.
        options: of the format.

    Raises:
        ValueError: if the detector cannot be exported, or the other process cannot make it again.
        ImportError: if there is no TensorFlow.
        OSError: if the artifact cannot be written; `ChildProcessError` if the process ends without
            an answer.
    """
    backend = keras.backend.backend()
    if not has_tensorflow():
        raise ImportError(
            "An export is done by TensorFlow, in a process of its own, and TensorFlow is not "
            "installed here. Expected it beside keras-lodin: pip install tensorflow tf2onnx; or "
            "save the detector (`detector.save(path)`) and export the file where there is "
            f"TensorFlow (`keras-lodin export`). Received: backend={backend!r}"
        )
    batches = random_batches(detector)
    samples = options.get("sample_inputs")
    if samples is not None:
        samples = checked_samples(detector, samples)
        options = {**options, "sample_inputs": samples}
        batches.append(samples)
    with tempfile.TemporaryDirectory(prefix="keras_lodin_export") as name:
        folder = Path(name)
        _save(detector, folder / DETECTOR_FILE)
        request = Request(
            path=Path(path),
            format=format,
            verbose=verbose,
            options=options,
            recorded=_recorded(detector, batches),
            modules=_modules_of_own_objects(folder / DETECTOR_FILE),
            keras_settings={
                "floatx": keras.config.floatx(),
                "epsilon": keras.config.epsilon(),
                "image_data_format": keras.config.image_data_format(),
                "dtype_policy": keras.config.dtype_policy().name,
            },
        )
        (folder / REQUEST_FILE).write_bytes(pickle.dumps(request))
        with waiting("Exporting by TensorFlow", verbose):
            printed, complaints, status = _run(folder)
        answer_file = folder / ANSWER_FILE
        answer = pickle.loads(answer_file.read_bytes()) if answer_file.exists() else None
    sys.stdout.write(printed)
    if answer is None:
        last = next((line for line in reversed(complaints.splitlines()) if line.strip()), "")
        raise ChildProcessError(
            "The process in which TensorFlow exports the detector has ended without an answer. "
            'Look whether `KERAS_BACKEND=tensorflow python -c "import keras_lodin"` works here. '
            f"Received: exit code {status}, {last.strip():.300}"
        )
    if answer.error is not None:
        limit = None if answer.limit is None else FormatLimitError(*answer.limit)
        raise answer.error from limit


def _save(detector: Scorer, path: Path) -> None:
    try:
        detector.save(path)
    except Exception as error:  # of Keras or of a user's layers, of any kind
        raise ValueError(
            "The detector could not be saved, and on this backend an export begins with that. "
            "Expected a classifier that `model.save` takes: classes of your own need a "
            "`get_config`. "
            f"Received: backend={keras.backend.backend()!r}, {type(error).__name__}: {error}"
        ) from error


def _recorded(detector: Scorer, batches: list[np.ndarray]) -> Recorded:
    found = []
    # Not on an accelerator, which may multiply with fewer digits than float32 has.
    with keras.device("cpu:0"):
        for batch in batches:
            side_values = detector.example_side_values(len(batch))
            inputs, threshold = ops.convert_to_tensor(batch), detector.threshold
            given = outputs(detector, inputs, side_values, threshold, with_gradient=True)
            arrays = {name: ops.convert_to_numpy(value) for name, value in given.items()}
            found.append((batch, arrays))
    return Recorded(keras.backend.backend(), found)


def _modules_of_own_objects(path: Path) -> list[str]:
    """The modules that a saved detector needs beside Keras's and this package's.

    Raises:
        ValueError: for classes and functions of a script or notebook, which no other process can
            import.
    """
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    registered = keras.saving.get_custom_objects()
    found = {}
    for entry in _objects(config):
        names = [entry.get("registered_name"), entry.get("class_name")]
        if entry.get("class_name") == "function":
            names = [entry.get("config"), entry.get("registered_name")]
        known = next((registered[name] for name in names if name in registered), None)
        module = getattr(known, "__module__", entry.get("module"))
        if isinstance(module, str):
            found[str(names[1] if known is None else known.__name__)] = module
    packages = ("keras", "keras_lodin", "builtins")
    own = {name: module for name, module in found.items() if module.split(".")[0] not in packages}
    nowhere = sorted(name for name, module in own.items() if module == "__main__")
    if nowhere:
        raise ValueError(
            "The export runs in a process of its own, which cannot import what a script or "
            "notebook defines. Expected classes and functions of your own in a module: move them "
            "to a .py file beside it, and import them from there. "
            f"Received: {', '.join(nowhere)} of __main__"
        )
    return sorted(set(own.values()))


def _objects(config: object) -> Iterator[dict[str, object]]:
    """The dictionaries of a configuration that stand for an object."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        for value in config.values():
            yield from _objects(value)
    elif isinstance(config, list):
        for value in config:
            yield from _objects(value)


def _run(folder: Path) -> tuple[str, str, int]:
    """Runs the other process; what it printed, what it complained of, and its exit code."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # This process may hold the memory of all accelerators.
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    command = [sys.executable, "-I", "-X", "utf8", "-c", _PROGRAM, json.dumps(sys.path)]
    process = subprocess.Popen(
        [*command, str(folder)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="backslashreplace",
    )
    try:
        printed, complaints = process.communicate()
    except BaseException:
        # It clears up what it has begun.
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
    finally:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    return printed, complaints, process.returncode
