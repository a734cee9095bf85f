"""Writes the tables of README and docs from the committed results and from what is registered.

    python benchmarks/tables.py

A line `<!-- table: FILE -->` says where a table belongs and which results it shows; what follows it
up to the next empty line is replaced. `tests/test_tables.py` checks that nothing has drifted.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    "docs/performance.md",
    "docs/reference.md",
    "docs/exported_files.md",
    "docs/gradients.md",
    "docs/recipes.md",
    "docs/detectors.md",
    "docs/study.md",
    "docs/full_scale.md",
    "docs/guides/drift.md",
    "docs/guides/threshold.md",
    "docs/results/contrasts.md",
    "docs/results/choose.md",
)
_ESTIMATORS = ("exact", "sampled", "projected")
# A place is empty where a page goes on behind an empty line.
_PLACE = re.compile(r"(<!-- table: (\S+) -->\n)((?=\n)|.*?(?=\n\n|\n?\Z))", re.DOTALL)


def main() -> None:
    for page in PAGES:
        path = ROOT / page
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


def filled(text: str) -> str:
    """A page with its tables made anew; those that are written by hand stay."""

    def table(match: re.Match) -> str:
        heading, file, old = match.groups()
        make = TABLES.get(file)
        if make is None:
            return heading + old
        return heading + make(ROOT / file) + ("" if old else "\n")

    return _PLACE.sub(table, text)


def cost(path: Path) -> str:
    rows = _rows(path)
    cases = list(dict.fromkeys((row["network"], int(row["classes"])) for row in rows))
    cells = {
        (row["network"], int(row["classes"]), row["setting"]): (
            f"{row['time_ratio']} ({row['least']} to {row['most']})"
            + (f"; {row['memory_ratio']}" if row["memory_ratio"] else "")
        )
        for row in rows
    }
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    return _markdown(
        ["", *(f"{network}, {classes} classes" for network, classes in cases)],
        [[name, *(cells.get((*case, name), "") for case in cases)] for name in settings],
    )


def cost_in_brief(path: Path) -> str:
    shown = {
        "softmax, exact": "exact",
        "softmax, sampled, K=1": "sampled",
        "softmax, projected, K=1": "projected",
        "softmax, projected, K=1, every=4": "projected, every 4th step",
    }
    ratios = {
        (row["setting"], int(row["classes"])): row["time_ratio"]
        for row in _rows(path.parent / "table.csv")
        if row["network"] == "resnet20"
    }
    counts = sorted({count for _, count in ratios})
    return _markdown(
        ["estimator", *(f"{count:,} classes" for count in counts)],
        [
            [label, *(ratios.get((name, count), "") for count in counts)]
            for name, label in shown.items()
        ],
    )


def quality(path: Path) -> str:
    return _markdown(
        ["estimator", "norm", "K", "quotient (exact)", "deviation", "cosine", "of the mean"],
        [
            [
                row["estimator"],
                row["norm"].upper(),
                row["samples"],
                f"{row['mean']} ({row['exact']})",
                row["standard_deviation"],
                f"{row['cosine']} ± {row['cosine_interval']}",
                row["cosine_of_mean"],
            ]
            for row in _rows(path)
        ],
    )


def growth(path: Path) -> str:
    return _markdown(
        ["setting", "grows with", "to the power"],
        [[row["setting"], row["grows"], row["exponent"]] for row in _rows(path)],
    )


def pairs(path: Path) -> str:
    return _markdown(
        ["network", "what", "median (smallest to largest)"],
        [
            [row["network"], row["what"], f"{row['median']} ({row['least']} to {row['most']})"]
            for row in _rows(path)
        ],
    )


def backends(path: Path) -> str:
    """A column for each backend; ratios are to the plain step or prediction of the same one."""
    rows = _rows(path)
    cells = {}
    for row in rows:
        text = f"{float(row['milliseconds']):.0f} ms, "
        text += f"{float(row['images_per_second']):.0f} a second"
        if "plain" not in row["what"]:
            text += f"; **{row['ratio']}** ({row['least']} to {row['most']})"
        cells[row["what"], row["backend"]] = text
    names = list(dict.fromkeys(row["backend"] for row in rows))
    return _markdown(
        ["", *names],
        [
            [what if "predict" in what else f"{what} step", *(cells[what, name] for name in names)]
            for what in dict.fromkeys(row["what"] for row in rows)
        ],
    )


def gpu(path: Path) -> str:
    """Every network, number of classes and dtype, on every device and backend."""
    lines = []
    for file in sorted(path.glob("*.json")):
        document = json.loads(file.read_text(encoding="utf-8"))
        groups: dict[str, dict[str, str]] = {}
        for name, row in document["rows"].items():
            group, _, estimator = name.rpartition(", ")
            if "milliseconds" in row:
                text = f"{row['milliseconds']:.3g} ms"
                text += f"; **{row['ratio']}**" if "ratio" in row else ""
                # A peak that another row made says nothing of this one.
                text += f"; {row['peak_mib']} MiB" if row.get("peak_is_its_own") else ""
                groups.setdefault(group, {})[estimator] = text
            elif row.get("out_of_memory"):
                groups.setdefault(group, {})[estimator] = "out of memory"
        where = f"{document['device']}, {document['backend']}"
        lines += [
            [where, group, *(cells.get(name, "") for name in ("plain", *_ESTIMATORS))]
            for group, cells in groups.items()
        ]
    return _markdown(["device, backend", "network", "plain", *_ESTIMATORS], lines)


def ratios(path: Path) -> str:
    return _markdown(
        ["what", "ratio (smallest to largest of the pairs)"],
        [
            [row["what"], f"{float(row['ratio']):.2f} ({row['least']} to {row['most']})"]
            for row in _rows(path)
        ],
    )


def applications(path: Path) -> str:
    names = ("logits", "score", "gradient", "signs")
    return _markdown(
        ["network", *names, "MB", "seconds", "peak GB"],
        [
            [
                row["network"],
                *(f"{row[name]} ({row[f'xla_{name}']})" for name in names),
                row["megabytes"],
                row["export_seconds"],
                f"{int(row['peak_megabytes']) / 1000:.1f}",
            ]
            for row in _rows(path)
        ],
    )


def real_data(path: Path) -> str:
    lines = []
    for file in sorted(path.parent.glob("*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        for name, both in result["auroc"].items():
            lines.append(
                [
                    result["network"],
                    name,
                    result["images"][name],
                    f"{both['tensorflow']:.6f}",
                    f"{both['onnxruntime']:.6f}",
                    f"{100 * result['same_is_ood'][name]:.2f} %",
                ]
            )
        own = next(name for name in result["images"] if name not in result["auroc"])
        same = f"{100 * result['same_is_ood'][own]:.2f} %"
        lines.append([result["network"], f"{own} (ID)", result["images"][own], "", "", same])
    return _markdown(
        ["network", "images", "count", "AUROC, TensorFlow", "AUROC, onnxruntime", "same verdict"],
        lines,
    )


def mood_cost(path: Path) -> str:
    exits = [f"exit{number}" for number in range(1, 6)]
    return _markdown(
        ["boundaries", "images", "leave at exits 1 to 5, %", "multiply-adds", "time"],
        [
            [
                row["boundaries"],
                row["data"],
                " / ".join(f"{100 * float(row[name]):.0f}" for name in exits),
                row["multiply_adds"],
                f"{row['time_median']} ({row['time_least']} to {row['time_most']})",
            ]
            for row in _rows(path)
        ],
    )


def gradient_medians(path: Path) -> str:
    quantities = ("log10_label_norm", "log10_other_norm", "quotient")
    lines = []
    for row in json.loads(path.read_text(encoding="utf-8"))["results"]:
        cells = []
        for name in quantities:
            text = f"{row[name]['median']:.3f}"
            if row["kind"] == "ood":
                text += f" ({100 * row['auroc'][name]:.1f})"
            cells.append(text)
        lines.append([row["model"], f"{row['data']}{' (ID)' * (row['kind'] == 'id')}", *cells])
    return _markdown(
        ["model", "data", "log10 predicted class", "log10 all others", "quotient"], lines
    )


def methods(path: Path) -> str:
    detectors = {"msp": "MSP", "max_logit": "MaxLogit", "energy": "Energy", "odin": "ODIN"}
    return _markdown(
        [
            *("task", "training", "cost", "ID accuracy", "calibration error"),
            *(f"{name}: AUROC; FPR95" for name in detectors.values()),
        ],
        [
            [
                row["task"],
                row["setting"] if row["cost"] else f"{row['method']}: {row['setting']}",
                *(row[name] for name in ("cost", "id_accuracy", "calibration_error")),
                *(f"{row[f'{d}_auroc']}; {row[f'{d}_fpr95']}".strip("; ") for d in detectors),
            ]
            for row in _rows(path)
        ],
    )


def mechanism(path: Path) -> str:
    """Means over the seeds; AUROCs, in brackets, with the quantity as a score."""
    rows = _rows(path)
    cases = list(dict.fromkeys((row["training"], row["data"]) for row in rows))
    lines = []
    for training, data in cases:
        own = [row for row in rows if (row["training"], row["data"]) == (training, data)]
        cells = []
        for name in ("log10_label_norm", "log10_other_norm", "quotient"):
            text = f"{fmean(float(row[name]) for row in own):.2f}"
            if own[0][f"{name}_auroc"]:
                text += f" ({100 * fmean(float(row[f'{name}_auroc']) for row in own):.0f})"
            cells.append(text)
        lines.append([training, data, *cells])
    return _markdown(
        ["training", "data", "log10 predicted class", "log10 all others", "quotient"], lines
    )


def rule(path: Path) -> str:
    return _markdown(
        [
            "task",
            "detector",
            "among",
            "choice",
            "its gain",
            "best in hindsight",
            "its gain",
            "regret",
        ],
        [
            [
                *(row["task"], row["detector"], row["among"], row["choice"], row["choice_gain"]),
                *(row["hindsight"], row["hindsight_gain"], row["regret"]),
            ]
            for row in _rows(path)
            if row["detector"] in ("msp", "odin")
        ],
    )


def increments(path: Path) -> str:
    """On another loss, and of plain cross-entropy what the study took to several tasks."""
    rows = _rows(path)
    tasks = {row["gq"]: {r["task"] for r in rows if r["gq"] == row["gq"]} for row in rows}
    shown = [row for row in rows if row["base"] != "off" or len(tasks[row["gq"]]) > 1]
    detectors = {"msp": "MSP", "energy": "Energy", "odin": "ODIN"}
    return _markdown(
        ["task", "with GQ", "without", *detectors.values(), "ID accuracy"],
        [
            [row["task"], row["gq"], row["base"], *(row[d] for d in detectors), row["accuracy"]]
            for row in shown
        ],
    )


def changed(path: Path) -> str:
    """What the right second derivative changed: gains over the control before and after.

    Of what the study took to several tasks; the file has every candidate.
    """
    rows = _rows(path)
    tasks = {
        row["training"]: {r["task"] for r in rows if r["training"] == row["training"]}
        for row in rows
    }
    pairs = {"odin": "ODIN", "msp": "MSP", "energy": "Energy", "accuracy": "ID accuracy"}
    return _markdown(
        ["task", "training", "seeds", *(f"{name}: before; after" for name in pairs.values())],
        [
            [
                *(row["task"], row["training"], row["seeds"]),
                *(f"{row[f'{name} before']}; {row[f'{name} after']}" for name in pairs),
            ]
            for row in rows
            if len(tasks[row["training"]]) > 1
        ],
    )


def against(path: Path) -> str:
    return _markdown(
        [
            *("task", "detector", "with GQ", "how chosen", "best without GQ, in hindsight"),
            *("difference in AUROC", "accuracy - off"),
        ],
        [
            [
                *(row["task"], row["detector"], row["gq"], row["how"], row["alternative"]),
                *(row["difference"], row["accuracy_gain"]),
            ]
            for row in _rows(path)
            if row["detector"] in ("msp", "odin")
        ],
    )


def promise(path: Path) -> str:
    rows = _rows(path)
    cells = {
        (row["scores"], row["rule"], row["samples"]): (
            f"{100 * float(row['mean_pass_rate']):.2f} ± {100 * float(row['standard_error']):.2f}"
        )
        for row in rows
    }
    counts = list(dict.fromkeys(row["samples"] for row in rows))
    return _markdown(
        ["scores", "rule", *(f"n = {int(count):,}" for count in counts)],
        [
            [*key, *(cells[(*key, count)] for count in counts)]
            for key in dict.fromkeys((row["scores"], row["rule"]) for row in rows)
        ],
    )


def uniform(path: Path) -> str:
    """Only what all formats agree on to the last digit: a column each would be the same."""
    rows = _rows(path)
    cells: dict[tuple[str, str, str], set[str]] = {}
    for row in rows:
        value = f"{100 * float(row['mean']):.2f} ± {100 * float(row['standard_error']):.2f}"
        cells.setdefault((row["detector"], row["samples"], row["a"]), set()).add(value)
    levels = list(dict.fromkeys(row["a"] for row in rows))
    return _markdown(
        ["detector", "n", *(f"a = {100 * float(level):g} %" for level in levels)],
        [
            [*key, *(" or ".join(sorted(cells[(*key, level)])) for level in levels)]
            for key in dict.fromkeys((row["detector"], row["samples"]) for row in rows)
        ],
    )


def discoveries(path: Path) -> str:
    cells: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    for row in _rows(path):
        key = (row["detector"], row["ood"], f"{100 * float(row['share_of_ood']):g} %")
        cells.setdefault(key, {})[row["rule"]] = row

    def false(row: dict[str, str]) -> str:
        mean, error = (
            100 * float(row[f"false_discovery_rate_{name}"]) for name in ("mean", "standard_error")
        )
        return f"{mean:.1f} ± {error:.1f}"

    def found(row: dict[str, str]) -> str:
        return f"{100 * float(row['found_of_ood']):.1f}"

    return _markdown(
        [
            *("detector", "OOD set", "OOD", "promised", "false among discoveries", "OOD found"),
            *("false among p <= 0.05", "OOD found"),
        ],
        [
            [
                *key,
                f"{100 * float(rules['discoveries']['promised']):g}",
                *(text(rules[rule]) for rule in rules for text in (false, found)),
            ]
            for key, rules in cells.items()
        ],
    )


def confidence(path: Path) -> str:
    def kept(row: dict[str, str]) -> str:
        mean, error = (100 * float(row[f"kept_{name}"]) for name in ("mean", "standard_error"))
        return f"{mean:.1f} ± {error:.1f} %"

    return _markdown(
        ["detector", "promise", "n", "sets in which 95 % pass", "mean share that passes"],
        [
            [
                *(row["detector"], row["rule"], row["samples"]),
                kept(row),
                f"{100 * float(row['mean_pass_rate']):.2f} %",
            ]
            for row in _rows(path)
        ],
    )


def counted(path: Path) -> str:
    def shown(row: dict[str, str], key: str) -> str:
        if not row[key]:
            return ""
        number = float(row[key])
        return f"{number:.7f}" if row["what"] == "threshold" else f"{100 * number:.4f} %"

    return _markdown(
        ["scores", "passes", "what", "found", "between", "exact", "seconds", "grown by"],
        [
            [
                *(f"{int(row['scores']):,}", row["passes"], row["what"], shown(row, "found")),
                f"{shown(row, 'lowest')} and {shown(row, 'highest')}" if row["lowest"] else "",
                shown(row, "expected"),
                row["seconds"],
                f"{row['grown']} MB",
            ]
            for row in _rows(path)
        ],
    )


def false_alarms(path: Path) -> str:
    def shares(row: dict[str, str]) -> list[str]:
        false = f"{100 * float(row['alarms']):.1f} ± {100 * float(row['standard_error']):.1f} %"
        if not float(row["changed_share"]):
            return ["", false, "", ""]
        after = row["alarms_after_change"]
        return [
            f"{100 * float(row['changed_share']):g} %",
            false,
            f"{100 * float(after):.0f} %" if after else "",
            row["median_delay"].removesuffix(".0").replace("inf", "none"),
        ]

    return _markdown(
        [
            *("scores", "n", "rule", "stated", "changed", "false alarm", "alarm after the change"),
            "windows until then, median",
        ],
        [
            [
                *(row["scores"], f"{int(row['calibrated_on']):,}", row["rule"]),
                *(f"{100 * float(row['stated']):g} %", *shares(row)),
            ]
            for row in _rows(path)
        ],
    )


def as_it_is(path: Path) -> str:
    """Every column, under its name with spaces."""
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return _markdown([name.replace("_", " ") for name in header], rows)


def full_scale_means(path: Path) -> str:
    detectors = {"odin": "ODIN", "energy": "Energy", "max_logit": "MaxLogit", "msp": "MSP"}
    return _markdown(
        [
            *("network", "method", "seeds", "seconds a cell", "ID accuracy"),
            *(f"{name}: AUROC; FPR95" for name in detectors.values()),
            "poster, ODIN: AUROC / FPR95 / accuracy",
        ],
        [
            [
                *(row[name] for name in ("network", "method", "seeds", "seconds", "id_accuracy")),
                *(f"{row[f'{d}_auroc']}; {row[f'{d}_fpr95']}" for d in detectors),
                row["poster"],
            ]
            for row in _rows(path)
        ],
    )


def full_scale_differences(path: Path) -> str:
    shown = {
        "network": "network",
        "method": "method",
        "pairs": "pairs",
        "odin_auroc": "ODIN AUROC",
        "sensitivity": "sensitivity",
        "poster": "poster's",
        "odin_fpr95": "ODIN FPR95",
        "energy_auroc": "Energy AUROC",
        "max_logit_auroc": "MaxLogit AUROC",
        "msp_auroc": "MSP AUROC",
        "id_accuracy": "ID accuracy",
    }
    return _markdown(list(shown.values()), [[row[name] for name in shown] for row in _rows(path)])


def full_scale_in_brief(path: Path) -> str:
    shown = {
        "method": "trained with",
        "pairs": "pairs",
        "odin_auroc": "ODIN AUROC",
        "odin_fpr95": "ODIN FPR95",
        "msp_auroc": "MSP AUROC",
        "id_accuracy": "ID accuracy",
    }
    names = {
        "gq pooled exact 1e-06": "GQ, the poster's setting (pooled, 1e-6)",
        "gq logits sampled 1": "GQ, sampled logits at +1",
        "logit_norm:0.04": "LogitNorm",
        "label_smoothing:0.1": "label smoothing",
    }
    return _markdown(
        list(shown.values()),
        [
            [names.get(row[name], row[name]) for name in shown]
            for row in _rows(path.parent / "differences.csv")
            if row["network"] == "resnet18"
        ],
    )


def sources(path: Path) -> str:
    from keras_lodin.data import SOURCES

    rows = [SOURCES.description(name).partition(": ") for name in SOURCES]
    return _markdown(
        ["written", "what it is"],
        [[f"`{written}`".replace(" or ", "` or `"), what] for written, _, what in rows],
    )


def detectors(path: Path) -> str:
    from keras_lodin.detectors import DETECTORS

    return _markdown(
        ["name", "class", "what its score is"],
        [
            [f"`{name}`", f"`{detector.__name__}`", DETECTORS.description(name)]
            for name, detector in DETECTORS.items()
        ],
    )


def figures(path: Path) -> str:
    from keras_lodin.metrics import FIGURES

    return _markdown(
        ["name", "figure", "what it is", "best"],
        [
            [f"`{name}`", one.title, one.definition, "high" if one.higher_is_better else "low"]
            for name, one in FIGURES.items()
        ],
    )


def conversions(path: Path) -> str:
    from keras_lodin.export.litert.rules import RULES as LITERT_RULES
    from keras_lodin.export.onnx.rules import RULES as ONNX_RULES
    from keras_lodin.gradients.tensorflow.rules import operations_with_rules

    facts = operations_with_rules()
    return _markdown(
        ["TensorFlow operation", "derivative", "ONNX", "LiteRT"],
        [
            [
                f"`{name}`",
                " ".join(facts.get(name, "").split()).replace("|", r"\|"),
                *("yes" if name in rules else "" for rules in (ONNX_RULES, LITERT_RULES)),
            ]
            for name in sorted({*facts, *ONNX_RULES, *LITERT_RULES})
        ],
    )


# Of the files that hold registries the tables show what is registered.
_KINDS = ("default", "tuned", "hindsight")


def detector_means(path: Path) -> str:
    """Mean AUROC over the OOD sets: as published, tuned without OOD data, and the best setting."""
    rows = _rows(path)
    networks = list(dict.fromkeys(row["network"] for row in rows))
    header = ["detector"]
    for network in networks:
        header += [f"{network}: default", "tuned", "in hindsight"]
    lines = []
    for detector in dict.fromkeys(row["detector"] for row in rows):
        cells, cost = [f"`{detector}`"], ["", ""]
        for network in networks:
            own = [r for r in rows if (r["network"], r["detector"]) == (network, detector)]
            for kind in _KINDS:
                found = [float(row["auroc"]) for row in own if row["kind"] == kind]
                cells.append(f"{100 * fmean(found):.1f}" if found else "")
            if own and own[0]["passes"]:
                cost = [own[0]["passes"], f"{int(own[0]['bytes']) / 2**20:.1f}"]
            elif own:
                cells[-3] = "refused" if "training data" not in own[0]["error"] else "no data"
        lines.append([*cells, *cost])
    return _markdown([*header, "passes", "MB"], lines)


def detector_sets(network: str) -> Callable[[Path], str]:
    """AUROC on each OOD set with its interval, tuned where there is something to tune."""

    def table(path: Path) -> str:
        path = path.with_name(path.name.split("#")[0])
        rows = [row for row in _rows(path) if row["network"] == network and row["auroc"]]
        sets = list(dict.fromkeys(row["ood"] for row in rows))
        lines = []
        for detector in dict.fromkeys(row["detector"] for row in rows):
            own = [row for row in rows if row["detector"] == detector]
            kind = "tuned" if any(row["kind"] == "tuned" for row in own) else "default"
            found = {row["ood"]: row for row in own if row["kind"] == kind}
            cells = []
            for ood in sets:
                ends = ("auroc", "auroc_low", "auroc_high")
                middle, low, high = (100 * float(found[ood][end]) for end in ends)
                cells.append(f"{middle:.1f} ({low:.1f} to {high:.1f})")
            lines.append([f"`{detector}`", *cells, found[sets[0]]["settings"]])
        return _markdown(["detector", *sets, "settings"], lines)

    return table


TABLES: dict[str, Callable[[Path], str]] = {
    "keras_lodin/data/named_source.py": sources,
    "keras_lodin/detectors/registry.py": detectors,
    "keras_lodin/metrics/registry.py": figures,
    "keras_lodin/export/*/rules": conversions,
    "docs/results/gq_cost/table.csv": cost,
    "docs/results/gq_cost/*": cost_in_brief,
    "docs/results/gq_cost/exponents.csv": growth,
    "docs/results/gq_ways.csv": as_it_is,
    "docs/results/estimators.csv": quality,
    "docs/results/against_pytorch.csv": pairs,
    "docs/results/promise.csv": promise,
    "docs/results/counted_scores.csv": counted,
    "docs/results/false_alarms.csv": false_alarms,
    "docs/results/detectors.csv": detector_means,
    "docs/results/detectors.csv#cifar10_resnet20": detector_sets("cifar10_resnet20"),
    "docs/results/detectors.csv#imagenet_efficientnet_lite0": detector_sets(
        "imagenet_efficientnet_lite0"
    ),
    "docs/results/p_values/uniform.csv": uniform,
    "docs/results/p_values/discoveries.csv": discoveries,
    "docs/results/p_values/confidence.csv": confidence,
    "docs/results/ratios.csv": ratios,
    "docs/results/start_up.csv": as_it_is,
    "docs/results/memory.csv": as_it_is,
    "docs/results/backends/costs.csv": backends,
    "docs/results/gpu": gpu,
    "docs/results/mood_cost.csv": mood_cost,
    "docs/results/gradients/gradients.json": gradient_medians,
    "docs/results/study/methods.csv": methods,
    "docs/results/study/summary.csv": rule,
    "docs/results/study/mechanism.csv": mechanism,
    "docs/results/study/against.csv": against,
    "docs/results/study/increments.csv": increments,
    "docs/results/study/changed.csv": changed,
    "docs/results/onnx/applications.csv": applications,
    "docs/results/onnx/*.json": real_data,
    "docs/results/onnx/scoring.csv": pairs,
    "docs/results/onnx/floor.csv": as_it_is,
    "docs/results/onnx/number_types.csv": as_it_is,
    "docs/results/onnx/profile.csv": as_it_is,
    "docs/results/onnx/export_cost.csv": as_it_is,
    "docs/results/onnx/export_phases.csv": as_it_is,
    "docs/results/contrasts/rules.csv": as_it_is,
    "docs/results/contrasts/afterwards.csv": as_it_is,
    "docs/results/contrasts/detectors.csv": as_it_is,
    "docs/results/contrasts/odin.csv": as_it_is,
    "docs/results/choose/networks.csv": as_it_is,
    "docs/results/choose/ways.csv": as_it_is,
    "docs/results/choose/one_pass.csv": as_it_is,
    "docs/results/full_scale/*": full_scale_in_brief,
    "docs/results/full_scale/means.csv": full_scale_means,
    "docs/results/full_scale/differences.csv": full_scale_differences,
    "docs/results/full_scale/sets.csv": as_it_is,
    "docs/results/full_scale/against.csv": as_it_is,
    "docs/results/full_scale/open.csv": as_it_is,
    "docs/results/full_scale/devices.csv": as_it_is,
    "docs/results/full_scale/nights/means.csv": full_scale_means,
    "docs/results/full_scale/nights/differences.csv": full_scale_differences,
    "docs/results/full_scale/nights/sets.csv": as_it_is,
    "docs/results/full_scale/nights/devices.csv": as_it_is,
    "docs/results/full_scale/first_budget/means.csv": full_scale_means,
    "docs/results/full_scale/first_budget/differences.csv": full_scale_differences,
    "docs/results/full_scale/first_budget/sets.csv": as_it_is,
    "docs/results/full_scale/first_budget/devices.csv": as_it_is,
}


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _markdown(header: list[str], rows: list[list[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    main()
