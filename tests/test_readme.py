"""The README's figures are those of the committed results, and its code is real code."""

import csv
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NAMES = {"MSP": "msp", "MaxLogit": "max_logit", "Energy": "energy", "ODIN": "odin"}
SETS = ("tiny_imagenet_jpeg75", "dtd10_jpeg75", "mnist_jpeg75", "fashion_mnist_jpeg75")


def test_table_of_results_equals_the_committed_file():
    with open(ROOT / "docs/results/cifar10_resnet20/results.csv", newline="") as file:
        rows = {(row["detector"], row["ood"]): row for row in csv.DictReader(file)}
    for shown, detector in NAMES.items():
        (line,) = re.findall(rf"^\| {shown} \|(.*)\|$", README, re.MULTILINE)
        cells = [cell.strip(" *") for cell in line.split("|")]
        assert cells == [
            f"{100 * float(row['auroc']):.1f} / {100 * float(row['fpr95']):.1f}"
            for row in (rows[detector, f"tfds:{name}"] for name in SETS)
        ]
