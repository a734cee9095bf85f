"""Where exported ODIN spends its time in onnxruntime, by kind of operation.

    python benchmarks/onnx_floor.py --keep FOLDER
    python benchmarks/onnx_profile.py FOLDER --output docs/results/onnx/profile.csv

From files that `onnx_floor.py` kept, by the runtime's own profiler, with one thread: milliseconds
of a batch, each operation at the least of some runs, which what else a machine does makes longer
and never shorter. With `--before`, the sum of an earlier commit's file too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path

from csv_rows import write_csv
from onnx_floor import NETWORKS, files_in, images_for, opened

KINDS = (
    "forward passes",
    "backward convolutions and products",
    "gates and their products",
    "strided gradients",
    "max pooling's gradient",
    "into and out of blocks",
    "the rest",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="folder of files that onnx_floor.py kept")
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--output", default=None, help="CSV file to write")
    parser.add_argument("--before", default=None, help="folder of an earlier commit's files")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    rows = []
    for network in options.networks:
        files = files_in(network, Path(options.folder))
        if options.before:
            files["before"] = Path(options.before) / f"{network}.onnx"
        found = {name: profile(path, options.batch, options.runs) for name, path in files.items()}
        row = {
            name: sum(found[name].values())
            for name in ("plain", "before", "after")
            if name in found
        }
        row["ratio"] = row["after"] / row["plain"]
        row |= dict.fromkeys(KINDS, 0.0)
        for (name, operation), milliseconds in found["after"].items():
            row[kind_of(name, operation)] += milliseconds
        rows.append({"network": network, **{what: f"{value:.3g}" for what, value in row.items()}})
        print(", ".join(f"{what} {value}" for what, value in rows[-1].items()), flush=True)
    if options.output:
        write_csv(options.output, rows)


def profile(path: Path, batch: int, runs: int) -> dict[tuple[str, str], float]:
    """The least milliseconds of each operation of a file, by its name and its type."""
    with tempfile.TemporaryDirectory() as folder:
        session = opened(path, enable_profiling=True, profile_file_prefix=f"{folder}/profile")
        feed = images_for(session, batch)
        for _ in range(runs + 1):
            session.run(["score", "is_ood"], feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    found = defaultdict(list)
    for event in events:
        name, _, what = event["name"].rpartition("_kernel_")
        if event["cat"] == "Node" and what == "time":
            found[name, event["args"]["op_name"]].append(event["dur"] / 1000)
    return {key: min(times) for key, times in found.items()}


def kind_of(name: str, operation: str) -> str:
    """One of `KINDS`: the names are those of TensorFlow's graph, the types the runtime's."""
    if operation.startswith("Reorder"):
        return "into and out of blocks"
    if name.startswith("AddN"):  # of gradients that meet
        return "the rest"
    if "gradient_tape" not in name:
        return "forward passes"
    if "ReluGrad" in name or "Relu6Grad" in name:
        return "gates and their products"
    if "MaxPoolGrad" in name:
        return "max pooling's gradient"
    if operation in ("ConvTranspose", "Pad"):
        return "strided gradients"
    if operation in ("Conv", "MatMul", "Gemm"):
        return "backward convolutions and products"
    return "the rest"


if __name__ == "__main__":
    main()
