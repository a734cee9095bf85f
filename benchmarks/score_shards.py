"""What it costs to score many images into a folder, and what a kill does to it.

    nice python benchmarks/score_shards.py cpu --count 20000
    nice python benchmarks/score_shards.py memory --count 1000000 --kills 10

`cpu` scores the same JPEG files in new processes, into one file, which reads them in Python and
keeps every row, by Keras and by `keras-lodin score`, which leaves Keras out, and into a folder. It
writes the processor seconds of each, imports included, and whether each image got the same score
by Keras and in the folder.

`memory` scores generated images, PNG files of 8 x 8 in Parquet files, by a small network. The
process is killed with SIGKILL at random moments and started again; the last start is left to the
end, and its resident memory is written down beside how many images were done. The rows are counted
and held to the inputs.

The results are `docs/results/scale/score_cpu.csv`, `score_memory.csv` and `score_kills.csv`.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import timing
from csv_rows import read_csv, write_csv
from PIL import Image

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "scale"
COMMAND = (sys.executable, "-m", "keras_lodin", "score")
# So many files are different; the others are copies of them.
DIFFERENT = 500
JPEG_SIZE = 200
ROWS = 100_000
SHARD = 10_000


def measure_cpu(count: int, folder: Path, network: str, detector: str) -> None:
    """Processor seconds of both ways, and whether the scores are the same."""
    artifact, images = folder / "detector.onnx", folder / "images"
    _write_jpegs(images, count)
    _write_artifact(artifact, network, detector)
    rows = []
    for way, command, output in (
        ("FILE.csv by Keras", COMMAND, folder / "scores.csv"),
        ("FILE.csv", (Path(sys.executable).with_name("keras-lodin"), "score"), folder / "own.csv"),
        ("DIR/", COMMAND, f"{folder / 'scores'}/"),
    ):
        seconds, wall = _run([*command, artifact, images, "--output", output])
        row = {"output": way, "cpu_seconds": round(seconds, 1), "seconds": round(wall, 1)}
        rows.append({**row, "ratio": round(seconds / (rows or [row])[0]["cpu_seconds"], 3)})
        print(rows[-1], flush=True)
    before = {row["path"]: row for row in read_csv(folder / "scores.csv")}
    after = _read(folder / "scores")
    assert list(before) == after["key"].tolist(), "other images"
    difference = np.abs(np.array([float(row["score"]) for row in before.values()]) - after["score"])
    verdicts = [row["is_ood"] == "True" for row in before.values()] != after["is_ood"]
    shared = {
        "images": count,
        "scored": len(before),
        "network": network,
        "detector": detector,
        "largest_difference": float(difference.max()),
        "other_verdicts": int(np.sum(verdicts)),
    }
    write_csv(RESULTS / "score_cpu.csv", [{**shared, **row} for row in rows])


def measure_memory(count: int, kills: int, folder: Path, seed: int) -> None:
    """Resident memory over a run, and what there is after kills."""
    drawn = random.Random(seed)
    artifact, images, output = folder / "detector.onnx", folder / "images", folder / "scores"
    _write_parquet(images, count)
    _write_artifact(artifact, "small_convnet", "msp")
    command = list(map(str, [*COMMAND, artifact, images, "--output", f"{output}/"]))
    killed: list[dict[str, Any]] = []
    memory: list[dict[str, Any]] = []
    while True:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        begun, start = _done(output), time.monotonic()
        last = len(killed) == kills
        goal = begun + drawn.randrange(3)
        while process.poll() is None:
            time.sleep(0.2)
            done = _done(output)
            if last:
                sample = {
                    "images": SHARD * done,
                    "in_this_process": SHARD * (done - begun),
                    "megabytes": round(_resident(process.pid) / 1e6, 1),
                    "seconds": round(time.monotonic() - start, 1),
                }
                # One for each shard: the largest that was seen while it was the last one done.
                if memory and memory[-1]["images"] == sample["images"]:
                    sample["megabytes"] = max(sample["megabytes"], memory[-1]["megabytes"])
                    memory.pop()
                memory.append(sample)
            elif done >= goal and (done > begun or time.monotonic() - start > 8):
                time.sleep(drawn.random() * 3)
                process.send_signal(signal.SIGKILL)
                break
        code = process.wait()
        if last:
            assert code == 0, code
            print(process.stdout.read() if process.stdout else "")
            break
        left = len(list(output.glob(".keras-lodin-*"))) if output.exists() else 0
        row = {"done_before": begun, "done_at_kill": _done(output), "folders_left_by_it": left}
        killed.append({"kill": len(killed) + 1, **row})
        print(killed[-1], flush=True)
    keys = _read(output)["key"]
    hidden = [path.name for path in output.iterdir() if path.name.startswith(".")]
    expected = {f"image {number}" for number in range(count)}
    told = {
        "images": count,
        "rows": len(keys),
        "different_keys": len(set(keys.tolist()) & expected),
        "left_behind": len(hidden),
    }
    print(told, flush=True)
    write_csv(RESULTS / "score_kills.csv", [{**row, **told} for row in killed])
    write_csv(RESULTS / "score_memory.csv", memory)
    later = [row["megabytes"] for row in memory if row["in_this_process"] >= SHARD]
    print(f"after the first {SHARD:,}: {min(later)} to {max(later)} MB")


def _done(output: Path) -> int:
    folder = output / "scores"
    return len(list(folder.iterdir())) if folder.exists() else 0


def _resident(process: int) -> int:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _run(command: list[Any]) -> tuple[float, float]:
    """Processor seconds, and those of the clock."""
    used: list[float] = []
    words = list(map(str, command))
    wall = timing.seconds_of(lambda: used.append(timing.processor_seconds(words)))
    return used[0], wall


def _read(folder: Path) -> dict[str, np.ndarray]:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(folder / "scores")
    return {name: table.column(name).to_numpy() for name in ("key", "score", "is_ood")}


def _write_jpegs(folder: Path, count: int) -> None:
    """Parts of two photographs, and three files that are damaged."""
    from sklearn.datasets import load_sample_images

    photos, drawn = load_sample_images().images, np.random.default_rng(0)
    folder.mkdir()
    encoded = []
    for number in range(DIFFERENT):
        photo = photos[number % 2]
        top, left = (drawn.integers(size - JPEG_SIZE) for size in photo.shape[:2])
        file = io.BytesIO()
        part = photo[top : top + JPEG_SIZE, left : left + JPEG_SIZE]
        Image.fromarray(part).save(file, "JPEG", quality=85)
        encoded.append(file.getvalue())
    for number in range(count):
        content = encoded[number % DIFFERENT]
        damaged = number in (count // 4, count // 2, count - 1)
        (folder / f"{number:06}.jpg").write_bytes(content[:200] if damaged else content)


def _write_parquet(folder: Path, count: int) -> None:
    import pyarrow
    import pyarrow.parquet

    drawn = np.random.default_rng(0)
    folder.mkdir()
    encoded = []
    for _ in range(DIFFERENT):
        file = io.BytesIO()
        Image.fromarray(drawn.integers(0, 256, (8, 8), "uint8")).save(file, "PNG")
        encoded.append(file.getvalue())
    for first in range(0, count, ROWS):
        numbers = range(first, min(first + ROWS, count))
        images = [encoded[number % DIFFERENT] for number in numbers]
        table = pyarrow.table({"key": [f"image {n}" for n in numbers], "image": images})
        path = folder / f"{first // ROWS:05}.parquet"
        pyarrow.parquet.write_table(table, path, row_group_size=SHARD)


def _write_artifact(path: Path, network: str, detector: str) -> None:
    """In a process of its own, so that this one stays small and starts others fast."""
    script = f"""
import keras, numpy as np
import keras_lodin
from keras_lodin.detectors import DETECTORS
from keras_lodin.models.networks.registry import build
keras.utils.set_random_seed(0)
shape = (32, 32, 3) if {network!r} != "small_convnet" else (8, 8, 1)
model = build({network!r}, 10, shape)
detector = DETECTORS[{detector!r}](model)
images = np.random.default_rng(0).uniform(size=(200, *shape)).astype("float32")
detector.calibrate(images, verbose=0)
detector.export({str(path)!r}, format="onnx", verbose=False)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["cpu", "memory"])
    parser.add_argument("--count", type=int, default=20_000, help="of images")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of kills")
    parser.add_argument("--network", default="resnet20", help="for `cpu`")
    parser.add_argument("--detector", default="energy", help="for `cpu`")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="score"))
    try:
        if arguments.what == "cpu":
            measure_cpu(arguments.count, folder, arguments.network, arguments.detector)
        else:
            measure_memory(arguments.count, arguments.kills, folder, arguments.seed)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
