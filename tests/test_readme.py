"""The README's figures are those of the committed results, and its code is real code."""

import ast
import csv
import re
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_python_blocks_name_what_exists(block):
    import keras_lodin

    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("keras_lodin."):
            value = keras_lodin
            for name in ast.unparse(node).split(".")[1:]:
                value = getattr(value, name)


@pytest.mark.parametrize("line", re.findall(r"^keras-lodin (.*)$", README, re.MULTILINE))
def test_commands_have_the_options_that_they_are_shown_with(line):
    from keras_lodin_cli.main import main

    name, *words = line.split()
    command = main.commands[name]
    if hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {option for p in command.params for option in p.opts}
    assert {word for word in words if word.startswith("--")} <= known
