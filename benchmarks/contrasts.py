"""What made-up contrasts are worth that choose hyper-parameters without out-of-distribution data.

    python benchmarks/contrasts.py run --data ../shared/data
    python benchmarks/contrasts.py report

`run` trains the networks that are not beside the repository and runs every network over every set
and contrast once, into runs/contrasts; it goes on where it was stopped (two hours on two cores,
most of it ODIN on the EfficientNet; needs scikit-image for its pictures, `pip install
scikit-image`). `report` computes every detector from those files in NumPy and writes the tables of
docs/results/contrasts, which docs/results/contrasts.md shows with the plan and what follows.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from contrast import rules
from contrast.candidates import ODIN_IMAGES, head_folds, odin_candidates, odin_folds
from contrast.heads import FAMILIES, Head, anchored, published
from csv_rows import read_csv, write_csv

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results" / "contrasts"
# The rule is taken by the first two and confirmed, or not, on the others.
DECIDE = ("cifar10_resnet20", "fashion7_cnn")
CONFIRM = ("imagenet_efficientnet_lite0", "mnist_cnn", "mnist_bn_cnn", "cifar6_cnn")
LARGE = ("imagenet_efficientnet_lite0",)
REPLICATES = 100
DECIDED = "mean without mixes"
SHORT = "texture, cloud, classes"
AFTERWARDS = (
    ("blocks16",),
    ("texture",),
    ("blocks16", "texture"),
    ("blocks16", "texture", "cloud"),
    ("texture", "cloud", "classes"),
    ("blocks16", "texture", "cloud", "noise"),
    ("feathered", "warp", "phase", "texture", "cloud", "noise"),
)
FIGURES = ("published", "chosen", "hindsight", "regret", "low", "high")
SHOWN = {
    "published": "published default",
    "anchor": "anchor",
    "today": "only blocks16",
    "decided": DECIDED,
    "short": SHORT,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("run", "report"))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cache", type=Path, default=ROOT / "runs" / "contrasts")
    parser.add_argument("--networks", nargs="+", default=[*DECIDE, *CONFIRM])
    options = parser.parse_args()
    if options.command == "run":
        from contrast.passes import run
        from contrast.sets import Data

        data = Data(options.data, options.cache)
        for network in options.networks:
            run(data.setting(network), options.cache / network, network in LARGE)
    else:
        report(options.cache, options.networks)


def measure(folder: Path, large: bool) -> Iterator[tuple[str, rules.Measured]]:
    """Every detector's AUROCs on one network, from the files of `run`."""
    head = np.load(folder / "head.npz")
    weights, bias = head["weights"].reshape(-1, len(head["bias"])), head["bias"]
    features = {
        path.stem: np.load(path)["features"].astype("float64")
        for path in sorted(folder.glob("*.npz"))
        if path.stem != "head" and not path.stem.startswith("odin_")
    }
    given = {name: (h @ weights + bias).argmax(axis=1) for name, h in features.items()}
    made_up = {
        name.removeprefix("contrast_"): h
        for name, h in features.items()
        if name.startswith("contrast_")
    } | feature_contrasts(features["select"], given["select"])
    real = {name.removeprefix("ood_"): h for name, h in features.items() if name.startswith("ood_")}
    weights_of = {
        name: rules.replicates(REPLICATES, len(h), seed)
        for seed, (name, h) in enumerate([*features.items()])
    }

    def aurocs(ours: list, theirs: list, own: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.stack(
            [rules.weighted_aurocs(a, b, own, other) for a, b in zip(ours, theirs, strict=True)],
            axis=1,
        )

    whole = Head(weights, bias, features["fit"])
    parts = []
    for left_out in head_folds(len(bias)):
        kept = np.setdiff1d(np.arange(len(bias)), left_out)
        fitted = features["fit"][np.isin(given["fit"], kept)]
        parts.append((Head(weights[:, kept], bias[kept], fitted), np.isin(given["select"], kept)))
    for name, family in FAMILIES.items():
        if family.scores is None:
            continue
        settings = list(family.candidates)

        def scores(h: np.ndarray, fit: Head = whole, name: str = name) -> list[np.ndarray]:
            return FAMILIES[name].scores(fit, h, list(FAMILIES[name].candidates))

        # A copy counts as often as what it was made of.
        own, ours = weights_of["select"], scores(features["select"])
        chosen_by = {c: aurocs(ours, scores(h), own, own) for c, h in made_up.items()}
        left = []
        for part, inside in parts:
            found = scores(features["select"], part)
            left.append(
                aurocs(
                    [s[inside] for s in found],
                    [s[~inside] for s in found],
                    own[:, inside],
                    own[:, ~inside],
                )
            )
        chosen_by["classes"] = np.mean(left, axis=0)
        ours = scores(features["test"])
        worth = {
            c: aurocs(ours, scores(h), weights_of["test"], weights_of[f"ood_{c}"])
            for c, h in real.items()
        }
        yield (
            name,
            rules.Measured(
                settings,
                settings.index(published(name, len(bias))),
                settings.index(anchored(name, len(bias))),
                chosen_by,
                worth,
            ),
        )

    images = ODIN_IMAGES.get(folder.name, 1000)
    stepped = {
        path.stem[5:]: np.load(path)["scores"][:images].T for path in folder.glob("odin_*.npz")
    }
    own = rules.replicates(REPLICATES, stepped["select"].shape[1], 1000)
    chosen_by = {
        name.removeprefix("contrast_"): aurocs(list(stepped["select"]), list(found), own, own)
        for name, found in sorted(stepped.items())
        if name.startswith("contrast_")
    }
    left = []
    for fold, left_out in enumerate(odin_folds(len(bias))):
        found = stepped[f"fold{fold}"]
        inside = ~np.isin(given["select"][: found.shape[1]], left_out)
        left.append(
            aurocs(list(found[:, inside]), list(found[:, ~inside]), own[:, inside], own[:, ~inside])
        )
    chosen_by["classes"] = np.mean(left, axis=0)
    test = rules.replicates(REPLICATES, stepped["test"].shape[1], 1001)
    settings = odin_candidates(large)
    yield (
        "odin",
        rules.Measured(
            settings,
            settings.index(FAMILIES["odin"].default),
            settings.index(FAMILIES["odin"].anchor),
            chosen_by,
            {
                name.removeprefix("ood_"): aurocs(
                    list(stepped["test"]),
                    list(found),
                    test,
                    rules.replicates(REPLICATES, found.shape[1], 1002 + place),
                )
                for place, (name, found) in enumerate(sorted(stepped.items()))
                if name.startswith("ood_")
            },
        ),
    )


def feature_contrasts(h: np.ndarray, classes: np.ndarray) -> dict[str, np.ndarray]:
    """What enters the last layer, mixed without a pass of the network."""
    from contrast.images import partners

    rng = np.random.default_rng(17)
    return {
        "feature_mean": (h + h[partners(classes, rng)]) / 2,
        "feature_shuffle": rng.permuted(h, axis=0),
    }


def report(cache: Path, networks: list[str]) -> None:
    """Computes networks anew, keeps the figures of the others, and writes the tables of all."""
    rows: list[dict] = []
    candidates: list[dict] = []
    for network in networks:
        for detector, measured in measure(cache / network, network in LARGE):
            candidates.extend(candidate_rows(network, detector, measured))
            hindsight = {name: float(found[0].max()) for name, found in measured.worth.items()}
            default = rules.worth(measured, rules.RULES["published default"])
            for name, rule in rules.rules(measured).items():
                found = rules.worth(measured, rule)
                common = {
                    "network": network,
                    "role": "decide" if network in DECIDE else "confirm",
                    "detector": detector,
                    "rule": name,
                    "setting": " ".join(f"{value:g}" for value in found.setting),
                }
                low, high = found.interval
                rows.append(
                    common
                    | {
                        "ood": "mean",
                        "published": default.auroc,
                        "chosen": found.auroc,
                        "hindsight": found.auroc + found.regret,
                        "regret": found.regret,
                        "low": low,
                        "high": high,
                    }
                )
                if name.startswith("only ") and name not in SHOWN.values():
                    continue
                rows.extend(
                    common
                    | {
                        "ood": ood,
                        "published": default.by_set[ood],
                        "chosen": auroc,
                        "hindsight": hindsight[ood],
                        "regret": hindsight[ood] - auroc,
                    }
                    for ood, auroc in found.by_set.items()
                )
            print(network, detector, flush=True)
    order = [*DECIDE, *CONFIRM]
    for name, found in (("figures.csv", rows), ("candidates.csv", candidates)):
        found.extend(row for row in _read(name) if row["network"] not in networks)
        found.sort(key=lambda row: order.index(row["network"]))
        _write(name, found)
    afterwards(_read("candidates.csv"))
    rows = _read("figures.csv")
    tables(rows, [name for name in order if any(row["network"] == name for row in rows)])


def candidate_rows(network: str, detector: str, measured: rules.Measured) -> list[dict]:
    """AUROCs of every setting against every contrast and OOD set, to try other rules with."""
    return [
        {
            "network": network,
            "detector": detector,
            "setting": " ".join(f"{value:g}" for value in setting),
            "is": "published" * (place == measured.published)
            or "anchor" * (place == measured.anchor),
        }
        | {f"contrast {name}": float(v[0, place]) for name, v in sorted(measured.chosen_by.items())}
        | {f"ood {name}": float(v[0, place]) for name, v in measured.worth.items()}
        for place, setting in enumerate(measured.candidates)
    ]


def tables(rows: list[dict], networks: list[str]) -> None:
    """What docs/results/contrasts.md shows, in points of AUROC."""
    for row in rows:
        row.update({key: float(row[key]) for key in FIGURES if row[key]})
    means = {(r["network"], r["detector"], r["rule"]): r for r in rows if r["ood"] == "mean"}
    detectors = list(dict.fromkeys(detector for _, detector, _ in means))
    names = list(dict.fromkeys(rule for _, _, rule in means))

    def regrets(rule: str, wanted: list[str]) -> list[float]:
        return [
            100 * means[network, detector, rule]["regret"]
            for network in wanted
            for detector in detectors
            if (network, detector, rule) in means
        ]

    def summary(rule: str, wanted: list[str]) -> str:
        found = regrets(rule, wanted)
        # What ODIN was not tried on is no rule for all detectors.
        missing = "" if len(found) == len(wanted) * len(detectors) else " (no ODIN)"
        return f"{np.mean(found):.2f}; {max(found):.1f}{missing}"

    parts = {
        "deciding": [network for network in networks if network in DECIDE],
        "confirming": [network for network in networks if network in CONFIRM],
    }
    order = sorted(names, key=lambda rule: np.mean(regrets(rule, parts["deciding"] or networks)))
    _write(
        "rules.csv",
        [
            {"rule": rule}
            | {f"{part}: mean; largest": summary(rule, of) for part, of in parts.items() if of}
            | {network: summary(rule, [network]) for network in networks}
            for rule in order
        ],
    )
    _write(
        "detectors.csv",
        [
            {
                "detector": detector,
                "network": network,
                "best": f"{100 * means[network, detector, DECIDED]['hindsight']:.1f}",
            }
            | {
                label: "{regret} ({low} to {high}) at {setting}".format(
                    setting=found["setting"],
                    **{key: f"{100 * found[key]:.1f}" for key in ("regret", "low", "high")},
                )
                for label, rule in SHOWN.items()
                for found in [means[network, detector, rule]]
            }
            for detector in detectors
            for network in networks
        ],
    )
    by_set = {(r["network"], r["ood"], r["rule"]): r for r in rows if r["detector"] == "odin"}
    _write(
        "odin.csv",
        [
            {"network": network, "OOD": ood}
            | {
                label: f"{100 * by_set[network, ood, rule]['chosen']:.1f}"
                for label, rule in SHOWN.items()
            }
            | {"best": f"{100 * by_set[network, ood, DECIDED]['hindsight']:.1f}"}
            for network, ood in dict.fromkeys((network, ood) for network, ood, _ in by_set)
        ],
    )


def afterwards(candidates: list[dict]) -> None:
    """Means of contrasts that were tried when all was known, from the AUROCs of the candidates."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in candidates:
        groups.setdefault((row["network"], row["detector"]), []).append(row)

    def regret(rows: list[dict], contrasts: tuple[str, ...], left_out: str) -> float:
        told = [np.mean([float(row[f"contrast {name}"]) for name in contrasts]) for row in rows]
        worth = [
            np.mean(
                [float(v) for key, v in row.items() if key[:4] == "ood " and v and key != left_out]
            )
            for row in rows
        ]
        return 100 * float(max(worth) - worth[int(np.argmax(told))])

    lines = []
    for contrasts in AFTERWARDS:
        found = {key: regret(rows, contrasts, "") for key, rows in groups.items()}
        without = [regret(rows, contrasts, "ood noise") for rows in groups.values()]
        networks = list(dict.fromkeys(network for network, _ in groups))
        lines.append(
            {
                "mean of": ", ".join(contrasts),
                "all: mean; largest": f"{np.mean([*found.values()]):.2f}; "
                f"{max(found.values()):.1f}",
                "without uniform noise": f"{np.mean(without):.2f}; {max(without):.1f}",
            }
            | {
                network: "{:.2f}; ODIN {:.1f}".format(
                    np.mean([value for key, value in found.items() if key[0] == network]),
                    found[network, "odin"],
                )
                for network in networks
            }
        )
    _write("afterwards.csv", lines)


def _read(name: str) -> list[dict]:
    return read_csv(RESULTS / name)


def _write(name: str, rows: list[dict]) -> None:
    write_csv(
        RESULTS / name,
        (
            {key: f"{v:.4f}" if isinstance(v, float) else v for key, v in row.items()}
            for row in rows
        ),
    )


if __name__ == "__main__":
    main()
