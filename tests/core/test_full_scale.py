"""The queue for whoever has a GPU starts where neither TensorFlow nor this package is installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is not None or importlib.util.find_spec("torch") is None,
    reason="needs PyTorch and no TensorFlow",
)
@pytest.mark.skipif(os.environ.get("KERAS_BACKEND") != "torch", reason="once is enough")
def test_the_queue_needs_no_setting_and_no_tensorflow():
    others = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    imported = subprocess.run(
        [sys.executable, "-c", "from scale import cells"],
        env={**others, "PYTHONPATH": str(BENCHMARKS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert imported.returncode == 0, imported.stderr
