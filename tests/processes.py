"""Other processes for the tests: new ones, and forks of one that has only imported.

A new process costs five seconds of imports. What is promised of a new process is tried in one; what
only needs to be apart from the test, and from what it has registered, patched or traced, gets a
fork: of a process that has imported TensorFlow, Keras and the package, and used none of them.
"""

import atexit
import contextlib
import fcntl
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_FOLDER = "KERAS_LODIN_TESTS_FORKS"
_ADDRESS = "address"

# Hands all that makes a command to the process that forks, and ends as the fork does.
_COMMAND = """#!{python} -IS
import json, os, socket, sys
call = json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [len(call).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(call)
    status = server.recv(1)
sys.exit(status[0] if status else "The process that forks has gone.")
"""


def run_python(script, *arguments):
    """Runs a script in a fork, from the repository's root; its output, or a failure with all."""
    return run([forked("python"), "-c", script, *map(str, arguments)]).stdout


def optimised_as_here(script):
    """A script whose graphs are optimised as those of this process: to compare bit by bit."""
    from tensorflow import config

    options = config.optimizer.get_experimental_options()
    return f"""
from tensorflow import config
config.optimizer.set_experimental_options({options!r})
{script}"""


def run(command, **options):
    """Runs a command that must succeed, from the repository's root unless told otherwise."""
    settings = {
        "cwd": ROOT,
        "env": {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        **options,
    }
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, **settings)
    if done.returncode != 0:
        raise AssertionError(f"exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def forked(command):
    """The path of a `python` or a `keras-lodin` that starts at once, as a fork."""
    folder, _ = _started()
    return folder / command


@contextlib.contextmanager
def folder_for_forks():
    """Where the processes of one test run find the one that forks, until the run ends."""
    with tempfile.TemporaryDirectory(prefix="forks") as folder:
        os.environ[_FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[_FOLDER]
            # It ends by itself when the folder has gone.


@functools.cache
def _started():
    """The folder, with the process that forks: started by the first who needs it, and kept."""
    folder, process = Path(os.environ[_FOLDER]), None
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _ADDRESS).exists():
            for name in ("python", "keras-lodin"):
                text = _COMMAND.format(python=sys.executable, address=str(folder / _ADDRESS))
                (folder / name).write_text(text)
                (folder / name).chmod(0o755)
            log = folder / "log"
            with log.open("w") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "tests.processes", folder],
                    cwd=ROOT,
                    env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            while not (folder / _ADDRESS).exists():
                if process.poll() is not None:
                    raise AssertionError(log.read_text())
                time.sleep(0.05)
    return folder, process


def _serve(folder):
    """Forks for each call, while the folder is there."""
    for name in ("sklearn.datasets", "sklearn.metrics", "keras_lodin", "keras_lodin_cli.main"):
        importlib.import_module(name)
    # The collection of cycles would write to all pages that the forks share, in each of them.
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    # The collection of cycles would write to all pages that the forks share, in each of them.
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    from tensorflow.python.eager import context

    if context.context()._initialized:
        raise RuntimeError("TensorFlow has started its threads, which no fork would have.")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "not yet"))
        server.listen(64)
        os.replace(folder / "not yet", folder / _ADDRESS)
        server.settimeout(1.0)
        while (folder / _ADDRESS).exists():
            with contextlib.suppress(TimeoutError):
                connection, _ = server.accept()
                if os.fork() == 0:
                    server.close()
                    connection.settimeout(None)
                    _answer(connection)
                connection.close()


def _answer(connection):
    """Runs the command of one call in a fork of its own, and says how it ended."""
    size, files, *_ = socket.recv_fds(connection, 8, 3)
    text = b""
    while len(text) < int.from_bytes(size, "big"):
        text += connection.recv(1 << 16)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os._exit(_run(*json.loads(text)))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    connection.send(bytes([status if status >= 0 else 128 - status]))
    os._exit(0)


def _run(command, folder, environment):
    """What `python` or `keras-lodin` does with its arguments; its exit status."""
    # New ones: those of before know of their files whether one can seek in them, and of what kind.
    for number, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
        errors = "backslashreplace" if name == "stderr" else None
        stream = open(number, mode, errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [folder, *filter(None, paths), *(p for p in sys.path if p != str(ROOT))]
    try:
        _main(*command)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _main(program, *arguments):
    main = sys.modules["__main__"] = type(sys)("__main__")
    if Path(program).name == "keras-lodin":
        sys.argv = ["keras-lodin", *arguments]
        importlib.import_module("keras_lodin_cli.main").main()
    elif arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        exec(compile(arguments[1], "<string>", "exec"), vars(main))
    elif arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        sys.path[0] = str(Path(arguments[0]).resolve().parent)
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
