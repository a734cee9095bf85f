"""What smaller numbers in an exported file do to AUROC, verdicts, size and time: float16 and int8.

    python benchmarks/onnx_number_types.py --output docs/results/onnx/number_types.csv

The exported files of two detectors are made smaller by onnxruntime's own tools, and score the same
images of the trained networks as they did before, in one thread. Each row is a file: its size, the
processor's time for all images over that of the file with float32, the largest difference of an
AUROC to that file's over the out-of-distribution sets, and the share of images with the same
verdict, of the set where it is lowest. For int8 64 in-distribution images that are not scored tell
the ranges.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import onnx
import onnxruntime
from csv_rows import write_csv
from onnx import TensorProto, helper, numpy_helper
from onnx_real_data import NETWORKS, images_of
from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

import keras_lodin

DETECTORS = {"ODIN": keras_lodin.ODINDetector, "energy": keras_lodin.EnergyDetector}
IMAGES = {"cifar10_resnet20": 500, "imagenet_efficientnet_lite0": 50}
RANGES = 64

# Pixels a side, above which nothing is scored by kernels whose inputs' ranges are taken anew for
# each batch: of small images already it takes six times as long.
_LARGE = 64

# What is quantized: the kernels of convolutions and layers, and what they read.
_WITH_KERNELS = ["Conv", "ConvTranspose", "MatMul", "Gemm"]

Sets = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=list(IMAGES))
    parser.add_argument("--output", default=None, help="CSV file to write")
    parser.add_argument("--data", default="../shared/data", help="folder of the trained networks")
    parser.add_argument("--limit", type=int, default=None, help="images per data set at most")
    parser.add_argument("--detectors", nargs="+", choices=DETECTORS, default=list(DETECTORS))
    options = parser.parse_args()
    # The tools say much of what they leave out.
    logging.disable(logging.WARNING)
    rows = []
    for network in options.networks:
        sets, ranges = images(network, Path(options.data), options.limit or IMAGES[network])
        classifier = keras.models.load_model(Path(options.data) / "models" / f"{network}.keras")
        for name in options.detectors:
            settings = {"input_range": (0.0, 255.0)} if name == "ODIN" else {}
            detector = DETECTORS[name](classifier, **settings)
            detector.calibrate(next(iter(sets.values())), tpr=0.95, verbose=0)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "float32.onnx"
                detector.export(path, format="onnx", verbose=False)
                for row in compared(path, sets, ranges):
                    rows.append({"network": network, "detector": name, **row})
                    print(", ".join(map(str, rows[-1].values())), flush=True)
        if options.output:
            write_csv(options.output, rows)


def images(network: str, data: Path, limit: int) -> tuple[Sets, np.ndarray]:
    """Images of each data set, the in-distribution one first, and those that tell the ranges."""
    settings = NETWORKS[network]
    sets = {}
    for name in (settings["id"], *settings["ood"]):
        batches = images_of(name, data, settings["size"], limit + RANGES)
        sets[name] = np.concatenate([batch.numpy() for batch in batches])
    ranges = sets[settings["id"]][-RANGES:]
    sets[settings["id"]] = sets[settings["id"]][:-RANGES]
    return {name: values[:limit] for name, values in sets.items()}, ranges


def compared(path: Path, sets: Sets, ranges: np.ndarray) -> Iterator[dict[str, object]]:
    """A row for each file."""
    base, base_seconds = scored(path, sets)
    for what, make in MAKERS.items():
        if make is int8_weights and ranges.shape[1] > _LARGE:
            continue
        made = path.with_name("smaller.onnx")
        make(path, made, ranges)
        found, seconds = scored(made, sets)
        own, *others = base
        changes = [
            abs(auroc(found[own], found[name]) - auroc(base[own], base[name])) for name in others
        ]
        same = [np.mean(found[name]["is_ood"] == base[name]["is_ood"]) for name in base]
        yield {
            "numbers": what,
            "megabytes": round(made.stat().st_size / 2**20, 1),
            "time over float32": round(seconds / base_seconds, 2),
            "AUROC differs by": round(float(max(changes)), 4),
            "same verdict, %": round(100 * float(min(same)), 1),
        }


def auroc(inside: dict[str, np.ndarray], outside: dict[str, np.ndarray]) -> float:
    # A score that is not a number is the worst, as the verdict has it.
    scores = [np.nan_to_num(each["score"], nan=-np.inf) for each in (inside, outside)]
    return float(keras_lodin.metrics.auroc(*scores))


def scored(path: Path, sets: Sets) -> tuple[dict[str, dict[str, np.ndarray]], float]:
    """Score and verdict of all images, and the processor's seconds for them."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    (value, *_) = session.get_inputs()
    start, found = time.process_time(), {}
    for name, images in sets.items():
        parts = [
            session.run(["score", "is_ood"], {value.name: images[first : first + 32]})
            for first in range(0, len(images), 32)
        ]
        columns = (np.concatenate(column) for column in zip(*parts, strict=True))
        found[name] = dict(zip(("score", "is_ood"), columns, strict=True))
    return found, time.process_time() - start


def as_it_is(source: Path, target: Path, ranges: np.ndarray) -> None:
    """The file with float32."""
    target.write_bytes(source.read_bytes())


def float16_weights(source: Path, target: Path, ranges: np.ndarray) -> None:
    """Weights in float16, which the runtime turns into float32 when it loads the file."""
    model = onnx.load(source)
    for tensor in list(model.graph.initializer):
        values = numpy_helper.to_array(tensor)
        # Not the gates' own, which are beyond the range of float16.
        if values.dtype != np.float32 or values.ndim < 2 or np.abs(values).max() > 6e4:
            continue
        name = f"{tensor.name}/float16"
        model.graph.node.insert(
            0, helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT)
        )
        tensor.CopyFrom(numpy_helper.from_array(values.astype("float16"), name))
    onnx.save(model, target)


def float16(source: Path, target: Path, ranges: np.ndarray) -> None:
    """All numbers but those of the gates and of what stands behind the classifier in float16."""
    model = onnx.load(source)
    small = convert_float_to_float16(
        model,
        keep_io_types=True,
        # The runtime has no such test of float16.
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, "IsInf", "IsNaN"],
        node_block_list=sorted(_gates(model)),
    )
    onnx.save(small, target)


def int8_weights(source: Path, target: Path, ranges: np.ndarray) -> None:
    """Kernels in int8; the ranges of what they read are taken anew for each batch."""
    model = onnx.load(source)
    quantize_dynamic(source, target, nodes_to_exclude=sorted(_gates(model)), per_channel=True)


def int8(source: Path, target: Path, ranges: np.ndarray) -> None:
    """Kernels of all passes, and what they read, in int8."""
    _quantized(source, target, ranges, lambda name: False)


def int8_forward(source: Path, target: Path, ranges: np.ndarray) -> None:
    """Those of the forward passes alone."""
    _quantized(source, target, ranges, lambda name: "gradient_tape" in name)


MAKERS: dict[str, Callable[[Path, Path, np.ndarray], None]] = {
    "float32": as_it_is,
    "float16, weights": float16_weights,
    "float16": float16,
    "int8, weights": int8_weights,
    "int8": int8,
    "int8, forward passes": int8_forward,
}


def _gates(model: onnx.ModelProto) -> set[str]:
    """Names of the nodes that read a number beyond the range of float16."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    huge = {
        name
        for name, value in values.items()
        if value.dtype == np.float32 and value.size and np.abs(value).max() > 6e4
    }
    return {node.name for node in model.graph.node if huge & set(node.input)}


def _quantized(
    source: Path, target: Path, ranges: np.ndarray, is_left_out: Callable[[str], bool]
) -> None:
    # Normalizations first go into the kernels, or they would be float32 between any two of them.
    folded = source.with_name("folded.onnx")
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.optimized_model_filepath = str(folded)
    session = onnxruntime.InferenceSession(str(source), settings, ["CPUExecutionProvider"])
    model = onnx.load(folded)
    left_out = _gates(model) | {
        node.name for node in model.graph.node if is_left_out(" ".join([node.name, *node.output]))
    }
    quantize_static(
        folded,
        target,
        _Ranges(session.get_inputs()[0].name, ranges),
        op_types_to_quantize=_WITH_KERNELS,
        nodes_to_exclude=sorted(left_out),
        per_channel=True,
    )


class _Ranges(CalibrationDataReader):
    """Batches of images, for the ranges of what is quantized."""

    def __init__(self, name: str, images: np.ndarray) -> None:
        self._batches = iter([{name: images[first : first + 16]} for first in range(0, RANGES, 16)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


if __name__ == "__main__":
    main()
