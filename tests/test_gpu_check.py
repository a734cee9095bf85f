"""The check of a GPU, as far as a machine without one can tell: its order, its file, its oracle."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import backends  # noqa: E402
import gpu_check  # noqa: E402
import tables  # noqa: E402
from device import checks, costs, record, runtime, wheels  # noqa: E402

HEADER = {"device": "Some GPU (80 GB)", "backend": "jax", "versions": {"jax": "0.11.2"}}


@pytest.mark.parametrize("sizes", [costs.GPU, costs.TINY], ids=["gpu", "tiny"])
def test_every_row_comes_once_and_after_the_plain_one_that_it_is_compared_with(sizes):
    rows = costs.steps(sizes)
    assert len(set(rows)) == len(rows) == 4 * 2 * len(sizes.networks) * len(sizes.classes)
    for row in rows:
        assert rows.index(row.plain) <= rows.index(row)
    # What costs hundreds of steps waits for all others.
    dear = [row.count > 10 for row in rows]
    assert dear == sorted(dear)
    assert len({row.name for row in rows}) == len(rows)


def test_a_file_is_gone_on_with_by_the_same_versions_alone(tmp_path):
    first = record.Record(tmp_path, HEADER)
    first.add("a", {"milliseconds": 1.0})
    first.add("b", {"error": "out of memory"})
    first.skip("c", 10.0, 2.0)
    assert first.path.name == "some_gpu_80_gb_jax.json"
    again = record.Record(tmp_path, HEADER)
    assert [again.done(name) for name in "abc"] == [True, False, False]
    again.begin("c")
    crashed = record.Record(tmp_path, HEADER)
    crashed.crashed()
    assert crashed.rows["c"] == {"error": "the process ended"}
    document = json.loads(first.path.read_text())
    assert document["running"] is None
    assert document["versions"] == HEADER["versions"]
    assert not record.Record(tmp_path, {**HEADER, "versions": {"jax": "0.12"}}).rows


def test_a_row_that_fails_leaves_the_others_and_one_without_time_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "forget", lambda: None)
    kept = record.Record(tmp_path, HEADER)
    queue = gpu_check.Queue(kept, time.monotonic() + 60)

    def too_large():
        raise RuntimeError("RESOURCE_EXHAUSTED: 100 GiB")

    def wrong():
        raise ValueError("no such thing")

    queue.run("large", too_large, 0.0)
    queue.run("wrong", wrong, 0.0)
    queue.run("right", lambda: {"milliseconds": 2.0}, 0.0)
    queue.run("long", wrong, 100.0)
    assert kept.rows["large"]["out_of_memory"]
    assert "passed" not in kept.rows["large"]
    assert kept.rows["wrong"]["passed"] is False
    assert kept.rows["right"]["milliseconds"] == 2.0
    assert list(json.loads(kept.path.read_text())["skipped"]) == ["long"]


@pytest.mark.slow
def test_the_quotient_and_its_weight_gradient_are_those_of_float64():
    row = checks.checks()["GQ against float64: softplus, normalized"]()
    assert row["passed"]
    assert row["worst"] < 0.1


def test_what_is_not_a_number_does_not_pass():
    found, wanted = {"a": np.array([1.0, np.nan])}, {"a": np.array([1.0, 1.0])}
    assert not checks._compared(found, wanted, "form")["passed"]


def test_the_checkout_has_its_version_without_being_installed(tmp_path):
    wheels.describe_checkout(ROOT, tmp_path)
    code = "import importlib.metadata as m; print(m.version('keras-lodin'), m.__file__)"
    printed = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert f'version = "{printed.split()[0]}"' in (ROOT / "pyproject.toml").read_text()


def test_what_is_missing_is_said_where_there_are_no_wheels(tmp_path, monkeypatch):
    monkeypatch.setitem(wheels.NEEDED, "no_such_module", "no-such-package")
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit, match=r"lacks no-such-package\. Run `python .* pack`"):
        wheels.install_missing(tmp_path / "wheels", tmp_path / "site")


def test_tables_show_rows_by_network_and_backends_side_by_side(tmp_path):
    kept = record.Record(tmp_path, HEADER)
    kept.add("resnet20, 10 classes, float32, plain", {"milliseconds": 2.0, "peak_mib": 300})
    kept.add(
        "resnet20, 10 classes, float32, exact",
        {"milliseconds": 20.5, "ratio": 10.25, "peak_mib": 900, "peak_is_its_own": True},
    )
    kept.add("scores: resnet20", {"plain_images_per_second": 1e5})
    assert tables.gpu(tmp_path).splitlines()[2] == (
        "| Some GPU (80 GB), jax | resnet20, 10 classes, float32 | 2 ms "
        "| 20.5 ms; **10.25**; 900 MiB |  |  |"
    )
    seconds = [
        {"plain": 1.0, "exact": n, "sampled": 4.0, "projected": 2.0}
        | {"plain predict": 1.0, "ODIN predict": 3.0}
        for n in (9.0, 11.0, 10.0)
    ]
    prepared = {"compile_seconds": dict.fromkeys(seconds[0], 1.0)}
    rows = backends._rows("jax", {"jax": seconds}, prepared, {"batch": 32, "images": 64})
    exact = next(row for row in rows if row["what"] == "exact")
    assert (exact["ratio"], exact["least"], exact["most"]) == (10.0, 9.0, 11.0)
    assert exact["images_per_second"] == 3.2
    assert next(row for row in rows if row["what"] == "ODIN predict")["ratio"] == 3.0


@pytest.mark.slow
def test_all_of_it_runs_tiny(tmp_path):
    command = [sys.executable, "benchmarks/gpu_check.py", "run", "--tiny", "--budget", "400"]
    command += ["--backend", "tensorflow", "--output", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    (path,) = tmp_path.glob("*.json")
    document = json.loads(path.read_text())
    assert not document["skipped"]
    assert document["running"] is None
    assert not [name for name, row in document["rows"].items() if "error" in row]
    assert len(document["rows"]) == len(checks.checks()) + 1 + len(costs.steps(costs.TINY)) + 1


@pytest.mark.slow
def test_the_costs_of_a_backend_are_measured_tiny(tmp_path):
    command = [sys.executable, "benchmarks/backends.py", "--backend", "tensorflow"]
    command += ["--network", "small_convnet", "--batch", "4", "--images", "16", "--budget", "1"]
    subprocess.run([*command, "--output", str(tmp_path)], cwd=ROOT, check=True)
    assert len((tmp_path / "costs.csv").read_text().splitlines()) == 7
    assert json.loads((tmp_path / "machine.json").read_text())["tensorflow"]["keras"]
