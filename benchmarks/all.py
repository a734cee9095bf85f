"""What the package costs where users feel it, in one table: every timing script, one by one.

    python benchmarks/all.py --quick
    nice python benchmarks/all.py --python torch-env/bin/python

Quickly, in less than ten minutes on two processors: small networks, few rounds, nothing written.
Otherwise each script runs with what the committed results were made with, writes them anew into
docs/results, and it takes hours; `python benchmarks/tables.py` brings them into the docs. Scripts
that compare with PyTorch need an interpreter that has it (tests/reference/README.md), and are left
out where none is named.

A figure is a median, with the least and the most of its pairs beside it where it is a ratio. The
floor is what is counted or asked, as docs/performance.md has it.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER.parent / "docs" / "results"

# What a line of the table says: what, figure, its spread, floor.
Line = tuple[str, str, str, str]


@dataclass(frozen=True)
class Measure:
    """A script and how its results are read.

    Args:
        script: in this folder, without its ending.
        written: its results, below docs/results.
        lines: the table's lines of a row of them.
        quick: further arguments, where it has to be quick.
        output: what follows `--output` is `written` itself, or the folder that holds it.
        needs_pytorch: it takes `--python` with an interpreter that has PyTorch.
    """

    script: str
    written: str
    lines: Callable[[dict[str, str]], Iterator[Line]]
    quick: tuple[str, ...]
    output: str = ""
    needs_pytorch: bool = False

    def command(self, results: Path, options: argparse.Namespace) -> list[str]:
        """The script with its arguments."""
        words = [sys.executable, str(FOLDER / f"{self.script}.py")]
        words += ["--output", str(results / (self.output or self.written))]
        words += ["--python", options.python] if self.needs_pytorch else []
        return words + list(self.quick if options.quick else ())


def _spread(row: dict[str, str]) -> str:
    return f"{row['least']} to {row['most']}"


def _ratios(row: dict[str, str]) -> Iterator[Line]:
    yield row["what"], row["ratio"], _spread(row), row["bound"]


def _gq_cost(row: dict[str, str]) -> Iterator[Line]:
    what = f"step / plain step, {row['network']}, {row['classes']} classes: {row['setting']}"
    yield what, row["time_ratio"], _spread(row), ""
    if row["memory_ratio"]:
        yield f"peak memory of the same {row['setting']}", row["memory_ratio"], "", ""


def _onnx_scoring(row: dict[str, str]) -> Iterator[Line]:
    yield f"{row['network']}, batch {row['batch']}, {row['what']}", row["median"], _spread(row), ""


def _applications(row: dict[str, str]) -> Iterator[Line]:
    yield f"export of {row['network']} to ONNX, seconds", row["export_seconds"], "", ""
    yield f"export of {row['network']} to ONNX, MB at most", row["peak_megabytes"], "", ""


def _start_up(row: dict[str, str]) -> Iterator[Line]:
    yield f"{row['what']}, processor seconds", row["processor_seconds"], _spread(row), ""


def _counted(row: dict[str, str]) -> Iterator[Line]:
    if row["what"] == "threshold":
        scores = f"{int(row['scores']):,} scores of each kind counted, {row['passes']} passes"
        yield f"{scores}, processor seconds", row["seconds"], "", ""
        yield f"{scores}, MB", row["grown"], "", ""


def _against_pytorch(row: dict[str, str]) -> Iterator[Line]:
    yield f"{row['network']}, {row['what']}", row["median"], _spread(row), ""


MEASURES = (
    Measure("start_up", "start_up.csv", _start_up, ("--rounds", "1")),
    Measure("ratios", "ratios.csv", _ratios, ("--rounds", "3", "--images", "256")),
    Measure(
        *("gq_cost", "gq_cost/table.csv", _gq_cost),
        quick=("--rounds", "3", "--no-growth", "--network", "resnet20", "--brief"),
        output="gq_cost",
    ),
    Measure("onnx_scoring", "onnx/scoring.csv", _onnx_scoring, ("--rounds", "3", "resnet20")),
    Measure("onnx_parity", "onnx/applications.csv", _applications, ("MobileNetV3Small",)),
    Measure("counted_scores", "counted_scores.csv", _counted, ("--scores", "1e6")),
    Measure(
        *("against_pytorch", "against_pytorch.csv", _against_pytorch),
        quick=("--rounds", "3"),
        needs_pytorch=True,
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small and few; writes nothing")
    parser.add_argument("--python", help="an interpreter that has PyTorch and pytorch-ood")
    names = [measure.script for measure in MEASURES]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    options = parser.parse_args()
    chosen = [measure for measure in MEASURES if measure.script in options.only]
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) if options.quick else RESULTS
        console = Console()
        table, failed = _table(chosen, results, options, console)
    console.print(table)
    if failed:
        raise SystemExit(f"{', '.join(failed)} failed: the end of what they said is above")


def _table(
    chosen: list[Measure], results: Path, options: argparse.Namespace, console: Console
) -> tuple[Table, list[str]]:
    table = Table("what", "figure", "least to most", "floor")
    failed = []
    for number, measure in enumerate(chosen, 1):
        said = f"[{number}/{len(chosen)}] {measure.script}"
        if measure.needs_pytorch and options.python is None:
            console.print(f"{said}: left out, it needs --python", markup=False)
            continue
        (results / measure.written).parent.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        run = subprocess.run(
            measure.command(results, options), check=False, capture_output=True, text=True
        )
        console.print(f"{said}: {time.monotonic() - start:.0f} s", markup=False)
        if run.returncode:
            console.print(run.stderr[-2000:], markup=False)
            failed.append(measure.script)
            continue
        with open(results / measure.written, newline="") as file:
            for row in csv.DictReader(file):
                for line in measure.lines(row):
                    table.add_row(*line)
        table.add_section()
    return table, failed


if __name__ == "__main__":
    main()
