"""What the recommendation of `keras_lodin.choose` is worth on real out-of-distribution data.

    python benchmarks/choose_regret.py run --data ../shared/data
    python benchmarks/choose_regret.py report

`run` calls `choose` on every network of the plan in docs/results/choose.md, scores test and OOD
images by every detector that it tried, and keeps the scores in runs/contrasts/choose; it trains
the networks that are not beside the repository into runs/contrasts, which it shares with
`contrasts.py`, and goes on where it was stopped (an hour on two cores). `report` computes AUROCs
and regrets from them and writes the tables of docs/results/choose.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from contrast import rules
from csv_rows import write_csv
from scipy.stats import t as student

from keras_lodin.utils.files import atomic_write

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results" / "choose"
OTHERS = ("cifar10_resnet20", "imagenet_efficientnet_lite0")
EARLIER = ("fashion7_cnn", "mnist_cnn", "mnist_bn_cnn", "cifar6_cnn")
FRESH = ("cifar5_resnet8", "mnist7_mlp", "fashion6_gelu")
NETWORKS = (*OTHERS, *EARLIER, *FRESH)
LARGE = "imagenet_efficientnet_lite0"
SEEDS = (0, 1, 2)
# Images that `choose` sees and that are tested, and of each OOD set: of small networks, and of one
# with large images.
MOST, MOST_LARGE = (1000, 1000, 600), (300, 300, 150)
# Three passes and a hundred candidates: too dear with large images on two cores.
STEPPING = ("odin", "adascale")
REPLICATES = 200
# Classes that a network was not given, and what resembles those it was given most.
NEAR = {
    "cifar10_resnet20": ("tiny_imagenet",),
    "imagenet_efficientnet_lite0": (),
    "fashion7_cnn": ("held_out_classes",),
    "mnist_cnn": ("letters",),
    "mnist_bn_cnn": ("letters",),
    "cifar6_cnn": ("held_out_classes",),
    "cifar5_resnet8": ("held_out_classes", "tiny_imagenet"),
    "mnist7_mlp": ("held_out_classes", "letters"),
    "fashion6_gelu": ("held_out_classes",),
}
# Known classes, enlarged from few pixels.
SHIFTED = {"imagenet_efficientnet_lite0": ("cifar10", "tiny_imagenet")}
DEFAULT = " default"
COPIES = ("scrambled", "mirrored", "clouds")
RECOMMENDED = "what `choose` recommends"
MSP = "msp"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("run", "report"))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cache", type=Path, default=ROOT / "runs" / "contrasts")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    options = parser.parse_args()
    folder = options.cache / "choose"
    if options.command == "report":
        report(folder)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from contrast.sets import Data

    data = Data(options.data, options.cache)
    folder.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for network in options.networks:
            path = folder / f"{network} {seed}.npz"
            if not path.exists() and (network != LARGE or seed == 0):
                start = time.perf_counter()
                run(data.setting(network), path, seed, large=network == LARGE)
                print(f"{path.stem}: {time.perf_counter() - start:.0f} s", flush=True)


def run(setting: Any, path: Path, seed: int, *, large: bool) -> None:
    """Writes the scores of every detector, which images they are of, and the choice as JSON."""
    import keras_lodin
    from keras_lodin.data.passes import BatchFunction, joined
    from keras_lodin.detectors.shared_passes import shared_passes

    pool = np.concatenate([setting.select, setting.test])
    labels = np.concatenate([setting.select_labels, setting.test_labels])
    order = np.random.default_rng(seed).permutation(len(pool))
    most_seen, most_test, most_ood = MOST_LARGE if large else MOST
    batch = 10 if large else 250
    seen, rest = np.split(order, [min(len(setting.select), most_seen)])
    rest = rest[:most_test]
    cheap = [name for name in keras_lodin.detectors.DETECTORS if name not in (*STEPPING, "mood")]
    choice = keras_lodin.choose(
        setting.model,
        (pool[seen], labels[seen]),
        (setting.fit, setting.fit_labels),
        detectors=cheap if large else None,
        input_range=(0, 255),
        batch_size=batch,
        seed=seed,
        verbose=0,
    )
    detectors = dict(choice.detectors)
    for name, detector in choice.detectors.items():
        published = detector.with_defaults()
        if published is not None:
            detectors[name + DEFAULT] = published
    if large:
        published = keras_lodin.ODINDetector(setting.model, input_range=(0, 255))
        detectors["odin" + DEFAULT] = published

    def score(inputs: Any) -> dict[str, Any]:
        passes = shared_passes(list(detectors.values()), inputs)
        return {
            name: one.score(forward_pass)
            for (name, one), forward_pass in zip(detectors.items(), passes, strict=True)
        }

    scored = BatchFunction(score)
    found = {}
    network = path.stem.rsplit(" ", 1)[0]
    unknown = {
        name: images[:most_ood]
        for name, images in setting.ood.items()
        if name not in SHIFTED.get(network, ())
    }
    for name, images in {"test": pool[rest], **unknown}.items():
        batches = scored.over(images, "", batch, 0)
        for detector, values in joined(one.outputs for one in batches).items():
            found[f"{name}/{detector}"] = np.asarray(values, "float32")
    document = json.dumps({**choice.to_dict(), "pool": len(pool)}, default=str)
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, choice=document, test_rows=rest, **found)


# --- What the scores say ---------------------------------------------------------------------


class Run:
    """One call of `choose`: its choice, and AUROCs on real OOD sets.

    Attributes:
        network: the network's name.
        judged: what `choose` knew, by detector.
        aurocs: by detector and OOD set, `(1 + replicates,)`, the first of the images as they are.
        recommended: the name of the detector that it recommends.
    """

    def __init__(self, path: Path) -> None:
        self.network, self.seed = path.stem.rsplit(" ", 1)
        stored = np.load(path)
        self.choice = json.loads(str(stored["choice"]))
        self.recommended = self.choice["recommended"]
        self.judged = {one["name"]: one for one in self.choice["judged"]}
        rows = stored["test_rows"]
        # The same image counts as often in every seed.
        own = rules.replicates(REPLICATES, self.choice["pool"], 0)[:, rows]
        self.aurocs: dict[str, dict[str, np.ndarray]] = {}
        scores: dict[str, dict[str, np.ndarray]] = {}
        for key in stored.files:
            if "/" in key:
                name, detector = key.split("/")
                scores.setdefault(detector, {})[name] = stored[key].astype("float64")
        sets = sorted(set(next(iter(scores.values()))) - {"test"})
        for detector, found in scores.items():
            ours = found.pop("test")
            self.aurocs[detector] = {
                name: rules.weighted_aurocs(
                    ours, found[name], own, rules.replicates(REPLICATES, len(found[name]), 1 + k)
                )
                for k, name in enumerate(sets)
            }

    def sets(self, group: str) -> list[str]:
        """The OOD sets of a group."""
        near = NEAR[self.network]
        return [
            name
            for name in self.aurocs[MSP]
            if group == "all"
            or (group == "near" and name in near)
            or (group == "far" and name not in near)
            or (group == "no noise" and name != "noise")
        ]

    def worth(self, detector: str, group: str) -> np.ndarray:
        """Mean AUROC over the sets of a group; that of MSP for a detector that refuses."""
        plain = detector.removesuffix(DEFAULT)
        known = next(name for name in (detector, plain, MSP) if name in self.aurocs)
        return np.mean([self.aurocs[known][name] for name in self.sets(group)], axis=0)

    def best(self, group: str) -> np.ndarray:
        """What the best detector of each replicate has, as `choose` set it."""
        return np.max([self.worth(name, group) for name in self.judged], axis=0)

    def pick(self, key: Callable[[dict], float | None]) -> str:
        """The detector with the largest figure among those that have it, MSP where none has."""
        found = {name: key(one) for name, one in self.judged.items()}
        known = {name: value for name, value in found.items() if value is not None}
        return max(known, key=lambda name: known[name], default=MSP)

    def picked(self, way: str, group: str) -> np.ndarray:
        """Mean AUROC of what a way to pick takes."""
        if way == "one at random":
            return np.mean([self.worth(name, group) for name in self.judged], axis=0)
        return self.worth(WAYS[way](self) if way in WAYS else way, group)


WAYS: dict[str, Callable[[Run], str]] = {
    RECOMMENDED: lambda run: run.recommended,
    "largest margin": lambda run: run.pick(lambda one: one["margin"]),
    "copies alone": lambda run: run.pick(lambda one: float(np.mean(list(one["aurocs"].values())))),
    "left-out classes alone": lambda run: run.pick(lambda one: one["held_out"]),
}
GROUPS = ("all", "near", "far", "no noise")


def report(folder: Path) -> None:
    runs: dict[str, list[Run]] = {}
    for network in NETWORKS:
        found = [Run(path) for path in sorted(folder.glob(f"{network} [0-9].npz"))]
        if found:
            runs[network] = found
            print(network, [one.recommended for one in found], flush=True)
    _write("detectors.csv", [row for found in runs.values() for row in _detector_rows(found)])
    names = dict.fromkeys(name for found in runs.values() for one in found for name in one.aurocs)
    ways = [*WAYS, "one at random", *sorted(names)]
    regrets = {
        (network, way, group): np.mean(
            [one.best(group) - one.picked(way, group) for one in found], axis=0
        )
        for network, found in runs.items()
        for way in ways
        for group in GROUPS
        if found[0].sets(group)
    }
    _write(
        "regrets.csv",
        [
            {"network": network, "way": way, "sets": group, **_points(values)}
            for (network, way, group), values in regrets.items()
        ],
    )
    _write(
        "networks.csv", [_network_row(network, found, regrets) for network, found in runs.items()]
    )
    rows = [_way_row(way, list(runs), regrets) for way in ways]
    _write("ways.csv", sorted(rows, key=lambda row: float(row["mean regret"].split()[0])))
    _write("one_pass.csv", sorted(_one_pass(runs), key=lambda row: float(row["mean regret"])))


def _points(values: np.ndarray) -> dict[str, str]:
    low, high = np.percentile(100 * values[1:], [2.5, 97.5])
    return {"regret": f"{100 * values[0]:.2f}", "low": f"{low:.2f}", "high": f"{high:.2f}"}


def _in_brackets(values: np.ndarray) -> str:
    low, high = np.percentile(100 * values[1:], [2.5, 97.5])
    return f"{100 * values[0]:.1f} ({low:.1f} to {high:.1f})"


def _detector_rows(found: Iterable[Run]) -> Iterable[dict[str, Any]]:
    """All that `choose` knew of each detector, and what it gives on real OOD sets."""
    for one in found:
        for detector, by_set in one.aurocs.items():
            known = one.judged.get(detector, {})
            margin = known.get("interval", (None, None))
            yield {
                "network": one.network,
                "seed": one.seed,
                "detector": detector,
                "recommended": "yes" if detector == one.recommended else "",
                "settings": json.dumps(known["settings"]) if known.get("settings") else "",
                **{f"copies {name}": known.get("aurocs", {}).get(name) for name in COPIES},
                "classes left out": known.get("held_out"),
                "margin": known.get("margin"),
                "margin low": margin[0],
                "margin high": margin[1],
                "worse": known.get("worse"),
                "passes": f"{known['passes']:g}" if known else "",
                "bytes": known.get("bytes"),
                **{
                    f"{group} mean": float(one.worth(detector, group)[0])
                    for group in GROUPS
                    if one.sets(group)
                },
                **{f"ood {name}": float(values[0]) for name, values in by_set.items()},
            }


def _network_row(
    network: str, found: list[Run], regrets: dict[tuple[str, str, str], np.ndarray]
) -> dict[str, str]:
    best = {
        name: float(np.mean([one.worth(name, "all")[0] for one in found]))
        for name in found[0].judged
    }
    first = max(best, key=lambda name: best[name])
    taken = [one.recommended for one in found]
    counts = {name: taken.count(name) for name in dict.fromkeys(taken)}
    gain = regrets[network, MSP, "all"] - regrets[network, RECOMMENDED, "all"]
    return {
        "network": network,
        "recommended": ", ".join(
            name if count == len(taken) else f"{name} ({count} of {len(taken)})"
            for name, count in counts.items()
        ),
        "its AUROC": f"{100 * np.mean([o.picked(RECOMMENDED, 'all')[0] for o in found]):.1f}",
        "best in hindsight": first,
        "AUROC": f"{100 * best[first]:.1f}",
        "regret": _in_brackets(regrets[network, RECOMMENDED, "all"]),
        **{
            group: f"{100 * regrets[network, RECOMMENDED, group][0]:.1f}"
            if (network, RECOMMENDED, group) in regrets
            else ""
            for group in GROUPS[1:]
        },
        "over MSP": _in_brackets(gain),
    }


def _way_row(
    way: str, networks: list[str], regrets: dict[tuple[str, str, str], np.ndarray]
) -> dict[str, str]:
    """Mean regrets of one way to pick, and how it differs from the recommendation."""

    def mean(wanted: Iterable[str], group: str) -> np.ndarray:
        return np.mean([regrets[n, way, group] for n in wanted if (n, way, group) in regrets], 0)

    fresh = [name for name in networks if name in FRESH]
    differences = 100 * np.array(
        [regrets[n, way, "all"][0] - regrets[n, RECOMMENDED, "all"][0] for n in networks]
    )
    half = student.ppf(0.975, len(networks) - 1) * differences.std(ddof=1) / len(networks) ** 0.5
    middle = differences.mean()
    return {
        "way": way,
        "mean regret": _in_brackets(mean(networks, "all")),
        "largest": f"{100 * max(regrets[n, way, 'all'][0] for n in networks):.1f}",
        "fresh": f"{100 * mean(fresh, 'all')[0]:.1f}" if fresh else "",
        "near": f"{100 * mean(networks, 'near')[0]:.1f}",
        "far": f"{100 * mean(networks, 'far')[0]:.1f}",
        "no noise": f"{100 * mean(networks, 'no noise')[0]:.1f}",
        "less the recommendation's": f"{middle:+.1f} ({middle - half:.1f} to {middle + half:.1f})",
        **{name: f"{100 * regrets[name, way, 'all'][0]:.1f}" for name in networks},
    }


def _one_pass(runs: dict[str, list[Run]]) -> Iterable[dict[str, str]]:
    """How detectors of one pass stand among themselves with published settings."""
    first = [found[0] for found in runs.values()]
    cheap = {name for one in first for name in one.judged if name not in STEPPING}

    def worth(one: Run, name: str) -> np.ndarray:
        return one.worth(name + DEFAULT, "all")

    hindsight = {
        network: np.mean(
            [
                np.max([worth(one, name) for name in cheap & set(one.judged)], axis=0)
                for one in found
            ],
            axis=0,
        )
        for network, found in runs.items()
    }
    for name in sorted(cheap):
        lost = {
            network: hindsight[network] - np.mean([worth(one, name) for one in found], axis=0)
            for network, found in runs.items()
        }
        applies = {network for network, found in runs.items() if name in found[0].judged}
        # Not told from the best: the lower end of what it loses is 0.
        best = [
            network
            for network in applies
            if np.percentile(lost[network][1:], 2.5) <= 0.0 or lost[network][0] <= 0.0
        ]
        yield {
            "detector": name,
            "applies to": str(len(applies)),
            "best, or not told from it": str(len(best)),
            "mean regret": f"{100 * np.mean([values[0] for values in lost.values()]):.2f}",
            "largest": f"{100 * max(values[0] for values in lost.values()):.1f}",
        }


def _write(name: str, rows: Iterable[dict]) -> None:
    write_csv(
        RESULTS / name,
        (
            {key: f"{v:.4f}" if isinstance(v, float) else v for key, v in row.items()}
            for row in rows
        ),
    )


if __name__ == "__main__":
    main()
