"""What only some of the work needs is imported there; a missing package is said in a sentence."""

import pytest

from keras_lodin.utils.needed_packages import imported_for
from tests.processes import run_python

# Keras itself imports matplotlib where there is one, so for plots it is the module that needs it.
FRESH_PROCESS = """
import pathlib, sys, tempfile
import keras_lodin
for name in ("onnx", "onnxruntime", "tf2onnx", "keras_lodin.report.plot_style"):
    assert name not in sys.modules, name
sys.modules["onnx"] = None  # an import of it now fails, as where it is missing
path = pathlib.Path(tempfile.mkdtemp(), "detector.onnx")
path.touch()
for function in (keras_lodin.export.load_artifact, keras_lodin.export.seal):
    try:
        function(path)
    except ImportError as error:
        print(error)
"""


def test_the_package_is_imported_without_what_only_exports_and_plots_need():
    printed = run_python(FRESH_PROCESS)
    message = "An ONNX file needs the package onnx, which is not installed here."
    assert printed.count(message) == printed.count("pip install onnx. Received: ") == 2


def test_a_missing_package_is_named_with_what_to_install():
    message = r"^Work needs the package nowhere_to_be_found, .* pip install nowhere_to_be_found\."
    with pytest.raises(ImportError, match=message), imported_for("Work"):
        import nowhere_to_be_found.part  # noqa: F401


def test_another_error_within_stays_as_it_is():
    with pytest.raises(KeyError), imported_for("Work"):
        raise KeyError("of ours")
