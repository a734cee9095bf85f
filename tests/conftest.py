"""Fixtures of every test: small classifiers, and the optional data beside the checkout."""

import fcntl
import gc
import os
import shutil
import zlib
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# TensorFlow's default depends on the processor; without it grouped `tf.nn.conv2d` has no gradient.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# XLA compiles what JAX runs for seconds; here most runs once.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    # Two thirds of what is left; older TensorFlows would end at a flag that they do not know.
    + " --xla_cpu_use_fusion_emitters=false" * (os.environ.get("KERAS_BACKEND") == "jax"),
)
# The tests run in parallel themselves.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# The process that hands out the tests waits for whatever is imported here: no Keras.
from tests import processes

# The same examples every time, on machines of any speed: a red test can be run again.
settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")

# The files that take longest, longest first: handed out in this order they leave no process waiting
# for another at the end.
LONGEST = (
    "test_command_line",
    "training/test_gq_model",
    "detectors/test_conformance",
    "export/test_onnx",
    "workflows/test_train_network",
    "quotient/test_estimators",
    "export/test_onnx_rules",
    "examples/test_serving",
    "workflows/test_jobs",
    "detectors/test_odin_tuning",
    "workflows/test_loading",
    "export/test_onnx_layers",
    "data/shards/test_image_reader",
    "test_documentation",
    "export/test_litert",
    "detectors/test_construction",
    "evaluation/test_one_pass",
    "detectors/test_odin",
    "workflows/sweeps/test_run",
    "detectors/test_mahalanobis",
    "workflows/scoring/test_run",
    "data/sources/test_every_source",
    "training/test_replicas",
    "detectors/test_mood",
    "gradients/tensorflow/test_second_derivatives",
    "gradients/tensorflow/test_jvp",
    "workflows/test_compare_gradients",
    "test_bad_inputs",
    "gradients/tensorflow/test_vjp",
    "test_registries",
    "detectors/test_combined",
    "workflows/test_monitor",
    "gradients/test_norms",
    "detectors/test_promise",
    "quotient/test_per_sample",
    "data/sources/test_folder",
    "test_testing",
    "browser/test_reports",
    "models/test_softmax_end",
    "quotient/test_forms",
    "export/test_damaged_artifacts",
    "gradients/tensorflow/test_rules",
    "evaluation/test_choosing",
)


def pytest_configure(config):
    # By number of tests, as pytest-xdist would, the longest files are the last.
    config.option.loadscopereorder = False
    # The processes of a run share the one that forks; the first of them makes its place.
    if not hasattr(config, "workerinput"):
        forks = processes.folder_for_forks()
        forks.__enter__()
        config.add_cleanup(lambda: forks.__exit__(None, None, None))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """A grid of cases goes whole through the slow tests, and thinned out through the others.

    Which of them stay is told by their names, so that no other order changes what is covered, and
    a case more at most one of them. Cases that are slow anyway are not counted.
    """
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    for item in items:
        if any(backend in marker.args for marker in item.iter_markers("slow_on")):
            item.add_marker(pytest.mark.slow)
    grids = defaultdict(list)
    for item in items:
        if item.get_closest_marker("grid") and not item.get_closest_marker("slow"):
            grids[item.nodeid.partition("[")[0]].append(item)
    for cases in grids.values():
        kept = -(-len(cases) // cases[0].get_closest_marker("grid").args[0])
        for item in sorted(cases, key=lambda item: zlib.crc32(item.name.encode()))[kept:]:
            item.add_marker(pytest.mark.slow)
    places = {f"tests/{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


@pytest.fixture(scope="session", autouse=True)
def _quick(pytestconfig):
    """What makes thousands of small traced graphs cheaper."""
    import keras

    if keras.backend.backend() == "tensorflow" and "not slow" in pytestconfig.option.markexpr:
        from tests import quick_tensorflow

        quick_tensorflow.set_up()
    # At Python's defaults the collection of cycles is a fifth of the work.
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


@pytest.fixture(autouse=True)
def _seed():
    import keras

    keras.utils.set_random_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def shared_data():
    """Real data and trained models that lie beside a developer's checkout, not in it."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the data folder ../shared/data beside the checkout")
    return folder


@pytest.fixture(scope="session")
def _kept():
    """The classifier of the test before, as long as it is as it was made."""
    return []


@pytest.fixture
def classifier(_kept):
    """Seven classes, images of 8 x 8 x 1, logits, untrained but with random statistics.

    Tests share it, until one trains, compiles or otherwise changes it.
    """
    from tests import networks

    if not _kept:
        _kept.append(networks.convolutional(normalization=True))
    model = _kept[0]
    before = networks.state(model)
    yield model
    if networks.state(model) != before:
        _kept.clear()


@pytest.fixture
def images(rng):
    return rng.uniform(size=(12, 8, 8, 1)).astype("float32")


@pytest.fixture
def labels(rng):
    from tests import networks

    return rng.integers(0, networks.CLASSES, size=12)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Makes what one process of the test run makes for all of them: a path by its name."""
    # Of pytest-xdist's processes each has a folder of its own in that of the run.
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder

    def make(name, function):
        with (folder / f"{name}.lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not lock.seek(0, os.SEEK_END):
                function(folder / name)
                lock.write("made")
        return folder / name

    return make


@pytest.fixture(scope="session")
def run(made_once):
    """Folder of a finished training run on digits 0 to 6, of the smallest network that learns."""
    from keras_lodin.models.networks import NETWORKS
    from keras_lodin.workflows import train
    from tests import networks

    def make(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(NETWORKS, "perceptron", networks.perceptron)
            train("digits:0-6", "perceptron", folder, epochs=8, verbose=0)

    return made_once("run", make)


@pytest.fixture(scope="session")
def detector_file(made_once, run):
    """A tuned and calibrated ODIN detector around it."""
    from keras_lodin.workflows import tune_model

    return made_once("detector.keras", lambda path: tune_model(run, "digits:0-6", path, verbose=0))


@pytest.fixture(scope="session")
def artifact(made_once, detector_file):
    """The same as a SavedModel."""
    from keras_lodin.workflows import export_model

    return made_once("artifact", lambda path: export_model(detector_file, path, verbose=False))


@pytest.fixture(scope="session")
def browser():
    """Chromium under its driver. Console messages are kept: `browser.get_log("browser")`."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs Chromium and ChromeDriver (Debian: chromium, chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(driver)
    started = webdriver.Chrome(options=options, service=service)
    yield started
    started.quit()


@pytest.fixture
def phone(browser):
    """The same, 390 pixels wide."""
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    yield browser
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
