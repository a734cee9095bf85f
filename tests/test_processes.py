"""What the tests take for another process is one, and nothing of one job is left for the next."""

import os
import subprocess

import pytest

from tests.processes import forked, run_python


def test_a_fork_has_its_own_arguments_folder_environment_and_status(tmp_path):
    script = "import os, sys; print(os.getcwd(), os.environ['NAME'], *sys.argv); sys.exit(7)"
    done = subprocess.run(
        [forked("python"), "-c", script, "one", "two"],
        cwd=tmp_path,
        env={**os.environ, "NAME": "own"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{tmp_path} own -c one two\n"
    assert done.stderr == ""
    assert done.returncode == 7


def test_a_fork_computes_and_leaves_nothing_behind():
    script = """
import keras, keras_lodin
from tests import networks
assert not hasattr(keras_lodin, "left"), "left"
keras_lodin.left = True
detector = keras_lodin.MSPDetector(networks.dense())
print(detector.name, detector.predict(keras.ops.ones((3, 10)), verbose=0)["score"].shape)
"""
    assert run_python(script) == run_python(script) == "msp_detector (3,)\n"


def test_a_script_that_fails_fails_the_test_with_its_traceback():
    with pytest.raises(AssertionError, match=r"exit code 1[\s\S]*KeyError: 'why'"):
        run_python("raise KeyError('why')")


def test_scripts_modules_and_the_command_start_as_in_a_new_process(tmp_path):
    (tmp_path / "script.py").write_text("import beside, sys; print(__name__, sys.argv)")
    (tmp_path / "beside.py").write_text("")
    for command, expected in (
        (["python", "script.py", "more"], "__main__ ['script.py', 'more']"),
        (["python", "-m", "keras_lodin", "--help"], "Usage: python -m keras_lodin"),
        (["keras-lodin", "train", "--help"], "Usage: keras-lodin train"),
    ):
        start, *arguments = command
        printed = subprocess.check_output([forked(start), *arguments], cwd=tmp_path, text=True)
        assert expected in printed
