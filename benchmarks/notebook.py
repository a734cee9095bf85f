"""Writes the notebook of examples/notebook from docs/tutorial.md, and runs it, so that there is one
tutorial and the notebook shows what it prints.

python benchmarks/notebook.py
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import v4

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "notebook" / "from_digits_to_a_served_detector.ipynb"


def main() -> None:
    notebook = from_page((ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        run(notebook, Path(folder))
    for cell in notebook.cells:
        cell.metadata = {}  # when each cell ran differs from one time to the next, and says nothing
    NOTEBOOK.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, NOTEBOOK)


def from_page(text: str) -> nbformat.NotebookNode:
    """The page's words and Python blocks as cells."""
    # Links of the site lead nowhere from here, and what a cell prints stands under it.
    text = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text)
    text = re.sub(r"```text\n.*?```\n", "", text, flags=re.DOTALL)
    cells = []
    for number, part in enumerate(re.split(r"```python\n(.*?)```", text, flags=re.DOTALL)):
        if part.strip():
            make = v4.new_code_cell if number % 2 else v4.new_markdown_cell
            cells.append(make(part.strip(), id=f"cell-{len(cells)}"))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def run(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Runs the cells in a kernel of their own, in `folder`, and keeps what they print."""
    # TensorFlow's account of the machine that it found is of no use to a reader.
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    for cell in notebook.cells:
        cell.outputs = [o for o in cell.get("outputs", []) if o.get("name") != "stderr"]


if __name__ == "__main__":
    main()
