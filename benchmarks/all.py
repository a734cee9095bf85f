"""What the package costs where users feel it, in one table: every timing script, one by one.

    python benchmarks/all.py --quick
    nice python benchmarks/all.py --python torch-env/bin/python --output FOLDER

Quickly, in less than ten minutes on two processors: small networks and few rounds. Otherwise each
script measures all that it can, which takes hours. What compares with PyTorch needs an interpreter
that has it (tests/reference/README.md), what reads trained networks the folder that has them
(`--data`); they are left out where that is missing. The committed results, with what was there
before beside them, are those of each script by itself, as docs/performance.md has its command.

A figure is a median, with the least and the most of its pairs beside it where it is a ratio.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from csv_rows import read_csv
from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).resolve().parent

# What a line of the table says: what, figure, its spread, what is counted or asked at most.
Line = tuple[str, str, str, str]


@dataclass(frozen=True)
class Measure:
    """A script and how its results are read.

    Args:
        script: in this folder, without its ending.
        written: the file of its results.
        lines: the table's lines of a row of them.
        quick: further arguments, where it has to be quick.
        always: further arguments in any case.
        in_a_folder: it is told the folder of its results.
        needs: names of options that it takes, without which it is left out.
    """

    script: str
    written: str
    lines: Callable[[dict[str, str]], Iterator[Line]]
    quick: tuple[str, ...] | None = ()
    always: tuple[str, ...] = ()
    in_a_folder: bool = False
    needs: tuple[str, ...] = ()

    def command(self, results: Path, options: argparse.Namespace) -> list[str]:
        """The script with its arguments."""
        words = [sys.executable, str(FOLDER / f"{self.script}.py"), *self.always]
        words += ["--output", str(results if self.in_a_folder else results / self.written)]
        for name in self.needs:
            words += [f"--{name}", str(getattr(options, name))]
        return words + list((self.quick or ()) if options.quick else ())

    def missing(self, options: argparse.Namespace) -> str | None:
        """Why it is left out, if it is."""
        if options.quick and self.quick is None:
            return "takes longer"
        lacks = [f"--{name}" for name in self.needs if getattr(options, name) is None]
        return f"needs {' and '.join(lacks)}" if lacks else None


def _spread(row: dict[str, str]) -> str:
    return f"{row['least']} to {row['most']}"


def _ratios(row: dict[str, str]) -> Iterator[Line]:
    yield row["what"], row["ratio"], _spread(row), row["bound"]


def _gq_cost(row: dict[str, str]) -> Iterator[Line]:
    what = f"{row['network']}, {row['classes']} classes, {row['setting']}"
    yield f"GQ step / plain step, {what}", row["time_ratio"], _spread(row), ""
    yield f"GQ memory / plain, {what}", row["memory_ratio"], "", ""


def _onnx_floor(row: dict[str, str]) -> Iterator[Line]:
    figure, _, spread = row["after"].partition(" (")
    what = f"onnxruntime: ODIN / plain forward, {row['network']}, batch {row['batch']}"
    yield what, figure, spread.rstrip(")"), "3.0 counted"


def _onnx_scoring(row: dict[str, str]) -> Iterator[Line]:
    yield f"{row['what']}, {row['network']}", row["median"], _spread(row), ""


def _export_cost(row: dict[str, str]) -> Iterator[Line]:
    what = f"ODIN of {row['network']} to ONNX"
    yield f"{what}, processor seconds", row["processor_seconds"], "", ""
    yield f"{what}, MB at the peak", row["peak_megabytes"], "", ""


def _start_up(row: dict[str, str]) -> Iterator[Line]:
    yield f"{row['what']}, processor seconds", row["processor_seconds"], _spread(row), ""


def _counted(row: dict[str, str]) -> Iterator[Line]:
    if row["what"] == "threshold":
        what = f"{int(row['scores']):,} scores of each kind counted, passes: {row['passes']}"
        yield f"{what}, processor seconds", row["seconds"], "", ""
        yield f"{what}, MB", row["grown"], "", ""


def _memory(row: dict[str, str]) -> Iterator[Line]:
    what = f"{row['what']}, {row['network']}, {row['images']} images"
    yield f"{what}, MB above the model", row["MB above the model, now"], "", "1500"


def _against_pytorch(row: dict[str, str]) -> Iterator[Line]:
    yield f"{row['network']}, {row['what']}", row["median"], _spread(row), ""


_GQ = ("softmax, exact", "softmax, sampled, K=1", "softmax, projected, K=1")
MEASURES = (
    Measure("start_up", "start_up.csv", _start_up, quick=("--rounds", "1")),
    Measure("ratios", "ratios.csv", _ratios, quick=("--rounds", "3", "--images", "256")),
    Measure(
        *("gq_cost", "table.csv", _gq_cost),
        quick=(
            *("--rounds", "3", "--network", "resnet20", "--classes", "10"),
            *(word for name in _GQ for word in ("--setting", name)),
        ),
        always=("--no-growth",),
        in_a_folder=True,
    ),
    Measure("export_cost", "export_cost.csv", _export_cost, quick=("MobileNetV2",)),
    Measure("onnx_floor", "floor.csv", _onnx_floor, quick=("--rounds", "3", "MobileNetV2")),
    Measure("onnx_scoring", "scoring.csv", _onnx_scoring, quick=("--rounds", "3", "resnet20")),
    Measure("counted_scores", "counted.csv", _counted, quick=("--scores", "1e6")),
    Measure("memory", "memory.csv", _memory, quick=("--only", "evaluate, arrays"), needs=("data",)),
    Measure(
        *("against_pytorch", "pytorch.csv", _against_pytorch),
        quick=None,
        needs=("python",),
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [measure.script for measure in MEASURES]
    parser.add_argument("--quick", action="store_true", help="small networks and few rounds")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--output", type=Path, help="folder to keep the scripts' CSV files in")
    parser.add_argument("--python", help="an interpreter that has PyTorch and pytorch-ood")
    parser.add_argument("--data", help="a folder with `models` and `tfds`")
    options = parser.parse_args()
    chosen = [measure for measure in MEASURES if measure.script in options.only]
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        results = options.output or Path(folder)
        results.mkdir(parents=True, exist_ok=True)
        table, failed = _table(chosen, results, options, console)
    console.print(table)
    if failed:
        raise SystemExit(f"{', '.join(failed)} failed: the end of what they said is above")


def _table(
    chosen: list[Measure], results: Path, options: argparse.Namespace, console: Console
) -> tuple[Table, list[str]]:
    table = Table("what", "figure", "least to most", "counted, or asked at most")
    failed = []
    for number, measure in enumerate(chosen, 1):
        said = f"[{number}/{len(chosen)}] {measure.script}"
        if missing := measure.missing(options):
            console.print(f"{said}: left out, it {missing}", markup=False)
            continue
        start = time.monotonic()
        run = subprocess.run(
            measure.command(results, options), check=False, capture_output=True, text=True
        )
        console.print(f"{said}: {time.monotonic() - start:.0f} s", markup=False)
        if run.returncode:
            console.print(run.stderr[-2000:], markup=False)
            failed.append(measure.script)
            continue
        for row in read_csv(results / measure.written):
            for line in measure.lines(row):
                table.add_row(*line)
        table.add_section()
    return table, failed


if __name__ == "__main__":
    main()
