"""Large and trained networks as ONNX. Slow: one process per network of keras.applications."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from onnx_parity import NETWORKS  # noqa: E402


def printed_json(*command):
    run = subprocess.run(
        [sys.executable, *map(str, command)], check=True, capture_output=True, text=True
    )
    return json.loads(run.stdout[run.stdout.index("{") :])


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_application_matches_tensorflow(network):
    row = printed_json(BENCHMARKS / "onnx_parity.py", "--single", network)
    assert float(row["logits"]) < 1e-4
    assert float(row["score"]) < 1e-3
    # Units that cross zero for a rounding error: XLA has them as well.
    assert float(row["signs"]) < 0.02
    assert row["megabytes"] < 4 * row["parameters"] / 2**20 + 3  # the weights once
    assert row["peak_megabytes"] < 6000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "limit"), [("cifar10_resnet20", 2000), ("imagenet_efficientnet_lite0", 150)]
)
def test_trained_network_gives_the_same_verdicts_on_real_images(network, limit, shared_data):
    script = BENCHMARKS / "onnx_real_data.py"
    result = printed_json(
        script, "--data", shared_data, "--network", network, "--limit", str(limit)
    )
    for both in result["auroc"].values():
        assert both["onnxruntime"] == pytest.approx(both["tensorflow"], abs=1e-3)
    images = result["images"]
    same = sum(result["same_is_ood"][name] * count for name, count in images.items())
    # One image of a small sample may lie on the threshold.
    assert same >= 0.999 * sum(images.values()) - 1
