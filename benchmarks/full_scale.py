"""GQ at the poster's scale: a queue of training runs that whoever has a GPU goes on with.

    python benchmarks/full_scale.py pack --tfds ../shared/data/tfds --data full_scale.npz
    python benchmarks/full_scale.py run --data full_scale.npz --budget 600
    python benchmarks/full_scale.py report

`pack` makes one file of JPEG bytes and labels, once, where the TFDS data sets are. `run` needs that
file, PyTorch, Keras, NumPy, scikit-learn and Pillow, no TensorFlow and no network; it trains what
is missing in docs/results/full_scale, within `--budget` seconds, and adds every finished run to it.
`report` writes the tables of docs/full_scale.md from there, with keras_lodin installed. `time` says
whether a device is right and what an epoch takes on it, before a budget is spent there. `nights` is
for processors alone: it trains ResNet-20, and every call goes on with what is missing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results" / "full_scale"
NIGHTS = RESULTS / "nights"


def main() -> None:
    options = _parser().parse_args()
    if options.command in (_time, _run, _nights):
        # Of Keras, in this process and in those of the cells.
        os.environ["KERAS_BACKEND"] = "torch"
    options.command(options)


def _pack(options: argparse.Namespace) -> None:
    from scale.data import pack

    pack(options.tfds, options.data)
    print(f"{options.data}: {options.data.stat().st_size / 1e6:.1f} MB")


def _time(options: argparse.Namespace) -> None:
    from scale.timing import time_programs

    time_programs(options.data, options.settings, options.limit, _say)


def _run(options: argparse.Namespace) -> None:
    from scale import plan
    from scale.cells import run

    changes = {
        name: getattr(options, name)
        for name in ("epochs", "batch", "learning_rate")
        if getattr(options, name)
    }
    recipes = {name: plan.RECIPES.get(name, plan.Recipe(20)) for name in options.networks}
    if changes or options.limit:
        changes["least_accuracy"] = 0.0
        recipes = {name: replace(recipe, **changes) for name, recipe in recipes.items()}
    if options.output == RESULTS and changes:
        raise SystemExit(
            "docs/results/full_scale holds runs of the one recipe in benchmarks/scale/plan.py: "
            "give another recipe, or part of the data, an --output of its own."
        )
    cells = plan.cells(tuple(options.networks), tuple(options.methods), tuple(options.seeds))
    finished = run(
        *(options.data, options.output, options.budget, cells, recipes, options.limit),
        side_by_side=options.side_by_side,
        say=_say,
    )
    print(f"{finished} cells finished", flush=True)


def _nights(options: argparse.Namespace) -> None:
    from scale import nights, plan

    network, methods, seeds, recipe = plan.NIGHTS
    finished = nights.run(
        *(options.data, options.work, options.output, options.budget),
        plan.cells((network,), methods, seeds),
        recipe,
        processes=options.processes,
        say=_say,
    )
    print(f"{finished} cells finished", flush=True)


def _merge(options: argparse.Namespace) -> None:
    from scale.results import Results, merge

    print(f"{merge(Results(options.source), Results(options.output))} cells added")


def _report(options: argparse.Namespace) -> None:
    sys.path.insert(0, str(ROOT))
    import tables
    from scale.report import write

    # What the first budget and the nights left was made by other recipes: tables of their own.
    written = write(options.output)
    for folder in (RESULTS / "first_budget", NIGHTS):
        written += write(folder, planned=False)
    print(*written, sep="\n")
    tables.main()


def _packed(path: str) -> Path:
    if not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"expected a file that `pack` wrote. Received: {path!r}")
    return Path(path)


def _network(name: str) -> str:
    from scale.networks import parts

    return _checked(parts, name)


def _method(name: str) -> str:
    from scale.methods import Method

    return _checked(Method.of, name)


def _setting(text: str) -> str:
    from scale.settings import parsed

    return _checked(parsed, text)


def _checked(function: Callable[[str], object], text: str) -> str:
    """The text, if the function takes it."""
    try:
        function(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _say(line: str) -> None:
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    from scale import plan

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)

    def command(name: str, function: object, text: str) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=text)
        found.set_defaults(command=function)
        return found

    pack = command("pack", _pack, "write one file of JPEG bytes and labels")
    pack.add_argument("--tfds", type=Path, required=True, help="folder of the TFDS data sets")
    timing = command("time", _time, "say whether a device is right, and how fast")
    timing.add_argument(
        "settings", nargs="+", type=_setting, help="NETWORK:KIND:BATCH[:SIDE_BY_SIDE]"
    )
    run = command("run", _run, "train what is missing")
    run.add_argument("--budget", type=float, required=True, help="seconds")
    run.add_argument("--networks", nargs="+", type=_network, default=list(plan.RECIPES))
    run.add_argument("--methods", nargs="+", type=_method, default=list(plan.METHODS))
    run.add_argument("--seeds", nargs="+", type=int, default=list(plan.SEEDS))
    run.add_argument("--side-by-side", type=int, default=4, help="trainings at a time")
    run.add_argument("--epochs", type=int, help="another recipe's")
    run.add_argument("--batch", type=int, help="another recipe's")
    run.add_argument("--learning-rate", type=float, help="another recipe's")
    nights = command("nights", _nights, "go on where there is no GPU")
    nights.add_argument(
        "--work", type=Path, default=NIGHTS / "begun", help="runs that have begun, to go on with"
    )
    nights.add_argument("--budget", type=float, required=True, help="seconds")
    nights.add_argument("--processes", type=int, help="runs at a time, if not one a processor")
    nights.add_argument("--output", type=Path, default=NIGHTS, help="results")
    merging = command("merge", _merge, "add the runs of another folder")
    merging.add_argument("source", type=Path)
    pack.add_argument("--data", type=Path, required=True, help="the file to write")
    for one in (timing, run, nights):
        one.add_argument("--data", type=_packed, required=True, help="the file that `pack` writes")
    for one in (timing, run):
        one.add_argument("--limit", type=int, help="images of each set, for a trial")
    reporting = command("report", _report, "write the tables of docs/full_scale.md")
    for one in (run, merging, reporting):
        one.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    return parser


if __name__ == "__main__":
    main()
