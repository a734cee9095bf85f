"""Runs code in a fresh process: what is saved, exported or distributed is checked there."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run_python(script, *arguments, python=sys.executable, check=True):
    """Runs a script from the repository's root; its standard output, or a failure with both."""
    finished = subprocess.run(
        [python, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    if check and finished.returncode != 0:
        raise AssertionError(f"exit code {finished.returncode}\n{finished.stdout}{finished.stderr}")
    return finished.stdout
