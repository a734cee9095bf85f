"""Writes the notebook of examples/notebook from docs/tutorial.md, so that there is one tutorial.

python benchmarks/notebook.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "notebook" / "from_digits_to_a_served_detector.ipynb"


def main() -> None:
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    # Links of the site lead nowhere from here.
    text = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text)
    cells = []
    for number, part in enumerate(re.split(r"```python\n(.*?)```", text, flags=re.DOTALL)):
        if not part.strip():
            continue
        kind = "code" if number % 2 else "markdown"
        cell = {
            "cell_type": kind,
            "id": f"cell-{len(cells)}",
            "metadata": {},
            "source": part.strip().splitlines(keepends=True),
        }
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        cells.append(cell)
    notebook = {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    NOTEBOOK.parent.mkdir(parents=True, exist_ok=True)
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
