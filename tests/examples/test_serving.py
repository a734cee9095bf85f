"""The serving examples, run as a stranger would run them: in other processes and environments."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_lodin.detectors import ODINDetector
from tests import networks, processes
from tests.processes import forked

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "serving"

CLASSES = [f"class {label}" for label in range(networks.CLASSES)]

# Runs a script as if some packages were not installed: an import of any of them fails.
WITHOUT = """
import runpy, sys
names, *sys.argv = sys.argv[1:]
sys.modules.update(dict.fromkeys(names.split(",")))
runpy.run_path(sys.argv[0], run_name="__main__")
"""

IMPORTABLE = """
import importlib.util
names = ("tensorflow", "keras", "keras_lodin", "tf2onnx", "onnx")
print([name for name in names if importlib.util.find_spec(name)])
"""


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (6, 8, 8, 1), dtype="uint8")


@pytest.fixture
def batch(pixels):
    return pixels / np.float32(255)


@pytest.fixture
def detector(batch):
    detector = ODINDetector(
        networks.convolutional(activation="gelu"), epsilon=0.01, class_names=CLASSES
    )
    detector.threshold = between(detector, batch, 2)
    return detector


def between(detector, batch, count):
    """A threshold above `count` of the scores, and near none, so that rounding decides nothing."""
    ordered = np.sort(detector.predict(batch, verbose=0)["score"])
    return float(ordered[count - 1 : count + 1].mean())


@pytest.fixture
def onnx_file(detector, tmp_path):
    detector.export(tmp_path / "detector.onnx", format="onnx", verbose=False)
    return tmp_path / "detector.onnx"


@pytest.fixture
def saved_model(detector, tmp_path):
    detector.export(tmp_path / "artifact", verbose=False)
    return tmp_path / "artifact"


@pytest.fixture
def paths(pixels, tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(len(pixels))]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image[..., 0]).save(path)
    return paths


@pytest.fixture
def npy(batch, tmp_path):
    np.save(tmp_path / "batch.npy", batch)
    return tmp_path / "batch.npy"


def run(python, *arguments, cwd):
    # Isolated, so that a PYTHONPATH of this process does not lend it this package.
    command = [str(argument) for argument in (python, "-I", *arguments)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.splitlines()


def new_environment(folder, *arguments):
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", *arguments, cwd=folder)
    return python


def assert_lines(lines, detector, batch, threshold=None):
    """Each line must say what the detector says: class, score and verdict."""
    if threshold is not None:
        detector.threshold = threshold
    outputs = detector.predict(batch, verbose=0)
    # Else a script that always said the same would pass.
    assert 0 < outputs["is_ood"].sum() < len(batch)
    assert len(lines) == len(batch)
    for line, logits, score, is_ood in zip(
        lines, outputs["logits"], outputs["score"], outputs["is_ood"], strict=True
    ):
        label, given, verdict = line.split(", ")
        assert int(label.split()[-1]) == logits.argmax()
        assert float(given.removeprefix("score ")) == pytest.approx(score, rel=1e-5)
        assert verdict == f"{'OUT OF' if is_ood else 'in'} distribution"


def assert_scores_by(command, detector, batch, paths, npy):
    """Runs a script of one line per sample on images, on a batch, and with another threshold."""
    lines = command(*paths)
    for line, path in zip(lines, paths, strict=True):
        assert line.startswith(f"{path}: class class ")
    assert_lines(lines, detector, batch)
    assert_lines(command(npy), detector, batch)
    moved = between(detector, batch, 4)
    assert_lines(command(npy, "--threshold", moved), detector, batch, threshold=moved)


def test_onnx_example_scores_without_tensorflow_keras_and_this_package(
    onnx_file, detector, batch, paths, npy, tmp_path
):
    def command(*arguments):
        script = ("-c", WITHOUT, "tensorflow,keras,keras_lodin", EXAMPLES / "score_onnx.py")
        return run(sys.executable, *script, onnx_file, *arguments, cwd=tmp_path)

    assert_scores_by(command, detector, batch, paths, npy)


def test_onnx_example_reads_the_order_of_axes_and_the_range_from_the_file(rng, tmp_path):
    pixels = rng.integers(0, 256, (2, 8, 8, 3), dtype="uint8")
    detector = ODINDetector(networks.convolutional(shape=(8, 8, 3)), input_range=(-1, 1))
    batch = pixels / np.float32(127.5) - 1
    detector.threshold = between(detector, batch, 1)
    file = tmp_path / "detector.onnx"
    detector.export(file, format="onnx", data_format="channels_first", verbose=False)
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    lines = run(sys.executable, EXAMPLES / "score_onnx.py", file, *paths, cwd=tmp_path)
    assert_lines(lines, detector, batch)


def test_saved_model_example_scores_by_tensorflow_alone(
    saved_model, detector, batch, paths, npy, tmp_path
):
    def command(*arguments):
        script = EXAMPLES / "score_saved_model.py"
        if arguments == (npy,):
            without = ("-c", WITHOUT, "keras,keras_lodin", script)
            return run(sys.executable, *without, saved_model, *arguments, cwd=tmp_path)
        # One new process is enough, where each imports TensorFlow.
        command = [forked("python"), script, saved_model, *map(str, arguments)]
        return processes.run(command, cwd=tmp_path).stdout.splitlines()

    assert_scores_by(command, detector, batch, paths, npy)


@pytest.mark.slow
def test_onnx_example_scores_in_a_new_environment_of_three_packages(
    onnx_file, detector, batch, paths, npy, tmp_path
):
    python = new_environment(tmp_path / "environment", "numpy", "onnxruntime", "pillow")
    assert run(python, "-c", IMPORTABLE, cwd=tmp_path) == ["[]"]

    def command(*arguments):
        return run(python, EXAMPLES / "score_onnx.py", onnx_file, *arguments, cwd=tmp_path)

    assert_scores_by(command, detector, batch, paths, npy)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(url, request=None):
    """Status and JSON of one call to a server."""
    data = None if request is None else json.dumps(request).encode()
    call = urllib.request.Request(url, data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(call, timeout=60) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@contextlib.contextmanager
def served(python, folder):
    """MLServer on a folder, until the block ends; gives the server's address."""
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["host"] == "127.0.0.1"
    settings |= {key: free_port() for key in ("http_port", "grpc_port", "metrics_port")}
    (folder / "settings.json").write_text(json.dumps(settings))
    address = f"http://127.0.0.1:{settings['http_port']}"
    log = folder / "server.log"
    with open(log, "w") as file:
        server = subprocess.Popen(
            [python.parent / "mlserver", "start", folder],
            cwd=folder.parent,
            # The server must find the runtime by itself.
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            stdout=file,
            stderr=file,
        )
    try:
        for _ in range(240):
            assert server.poll() is None, log.read_text()
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                if ask(f"{address}/v2/models/detector/ready")[0] == 200:
                    break
            time.sleep(0.5)
        else:
            raise AssertionError(log.read_text())
        yield address
    finally:
        server.terminate()
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def tensor(value, name="images"):
    """An array in the protocol's words."""
    value = np.asarray(value, "float32")
    data = value.ravel().tolist()
    return {"name": name, "shape": list(value.shape), "datatype": "FP32", "data": data}


def assert_answers_are_each_its_own(url, detector, batch):
    """Many requests at once, of several sizes, with a threshold of their own or none, or bad."""
    expected = detector.predict(batch, verbose=0)
    thresholds = [between(detector, batch, count) for count in (1, 3, 5)]

    def request(number):
        part = slice(number % len(batch), number % len(batch) + 1 + number % 2)
        inputs = [tensor(batch[part] * (255 if number % 5 == 0 else 1))]
        threshold = detector.threshold
        if number % 3:
            threshold = thresholds[number % len(thresholds)]
            inputs.append(tensor([threshold], "threshold"))
        status, answer = ask(f"{url}/infer", {"inputs": inputs})
        if number % 5 == 0:
            assert status == 400
            return
        outputs = {one["name"]: one["data"] for one in answer["outputs"]}
        np.testing.assert_allclose(outputs["score"], expected["score"][part], rtol=1e-5)
        np.testing.assert_array_equal(outputs["is_ood"], expected["score"][part] <= threshold)

    with ThreadPoolExecutor(16) as pool:
        assert len(list(pool.map(request, range(160)))) == 160


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="MLServer has no release for Python 3.13")
def test_mlserver_example_answers_its_client_as_the_detector_would(
    onnx_file, detector, batch, npy, tmp_path
):
    folder = tmp_path / "server"
    shutil.copytree(EXAMPLES / "mlserver", folder)
    shutil.copy(onnx_file, folder / "detector.onnx")
    python = new_environment(tmp_path / "environment", "-r", folder / "requirements.txt")
    assert run(python, "-c", IMPORTABLE, cwd=tmp_path) == ["[]"]
    with served(python, folder) as address:
        url = f"{address}/v2/models/detector"

        def client(*arguments):
            return run(python, folder / "client.py", npy, "--url", url, *arguments, cwd=tmp_path)

        for path in ("health/live", "health/ready", "models/detector/ready"):
            assert ask(f"{address}/v2/{path}")[0] == 200
        _, metadata = ask(url)
        assert {entry["name"]: entry["shape"] for entry in metadata["inputs"]} == {
            "images": [-1, 8, 8, 1],
            "threshold": [],
        }
        assert {entry["name"]: entry["datatype"] for entry in metadata["outputs"]} == {
            "logits": "FP32",
            "score": "FP32",
            "is_ood": "BOOL",
            "p_value": "FP32",
        }
        wrong = {"name": "images", "shape": [1, 2], "datatype": "FP32", "data": [0, 0]}
        pixels = tensor(batch[:1] * 255)
        for inputs, reason in (
            ([wrong], "`images` has shape [-1, 8, 8, 1], -1 for any size. Received: [1, 2]"),
            ([pixels], "`images` lies between 0 and 1"),
            ([{**wrong, "name": "pictures"}], "The inputs are images, and `threshold` may be"),
            ([tensor(batch[:1]), tensor([0.1, 0.2], "threshold")], "`threshold` is one number"),
        ):
            status, answer = ask(f"{url}/infer", {"inputs": inputs})
            assert status == 400
            assert reason in answer["error"]
        assert_answers_are_each_its_own(url, detector, batch)
        lines = run(
            *(python, folder / "load_test.py", npy, "--url", url, "--clients", 1, 3),
            *("--seconds", 0.5),
            cwd=tmp_path,
        )
        assert [line.split("|")[1].strip() for line in lines] == ["clients", "---", "1", "3"]
        grpc = json.loads((folder / "settings.json").read_text())["grpc_port"]
        lines = run(
            *(python, folder / "load_test.py", npy, "--url", url, "--clients", 2, "--binary"),
            *("--grpc", f"127.0.0.1:{grpc}", "--seconds", 0.5),
            cwd=tmp_path,
        )
        assert len(lines) == 3

        one = tensor(batch[:1])
        _, answer = ask(f"{url}/infer", {"inputs": [one]})
        outputs = {output["name"]: output for output in answer["outputs"]}
        assert outputs["score"]["shape"] == outputs["is_ood"]["shape"] == [1]
        assert outputs["logits"]["shape"] == [1, networks.CLASSES]
        expected = detector.predict(batch[:1], verbose=0)
        np.testing.assert_allclose(outputs["logits"]["data"], expected["logits"][0], atol=1e-5)

        assert_lines(client(), detector, batch)
        moved = between(detector, batch, 4)
        assert_lines(client("--threshold", moved), detector, batch, threshold=moved)
