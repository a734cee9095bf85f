"""Files appear whole or not at all."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_lodin.utils import files
from keras_lodin.utils.files import (
    atomic_write,
    check_fillable,
    check_no_input,
    check_replaceable,
    clear_leftovers,
    holds_others,
    is_stream,
    write_together,
)
from tests import networks

NOBODY = 65534


def make_folder(path, content):
    (path / "inside").mkdir(parents=True)
    for name in ("a.txt", "inside/b.txt"):
        (path / name).write_text(content)


def content_of(path):
    if path.is_file():
        return path.read_text()
    contents = {file.read_text() for file in path.rglob("*.txt")}
    assert len(contents) == 1, "files of two writers are mixed"
    return contents.pop()


def write(path, content, kind):
    if kind == "file":
        path.write_text(content)
    else:
        make_folder(path, content)


kinds = pytest.mark.parametrize("kind", ["file", "folder"])


@kinds
def test_new_content_appears_with_missing_parents(tmp_path, kind):
    path = tmp_path / "new" / "parent" / "name.txt"
    with atomic_write(path) as temporary:
        assert temporary.is_relative_to(path.parent)  # On the same disk.
        assert temporary.name == path.name
        write(temporary, "new", kind)
        assert not path.exists()
    assert content_of(path) == "new"
    assert list(path.parent.iterdir()) == [path]


@kinds
def test_old_content_is_replaced_as_a_whole(tmp_path, kind):
    path = tmp_path / "name"
    write(path, "old", kind)
    with atomic_write(path) as temporary:
        write(temporary, "new", kind)
        assert content_of(path) == "old"
    assert content_of(path) == "new"
    assert list(tmp_path.iterdir()) == [path]


@kinds
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_what_was_there(tmp_path, kind, error):
    path = tmp_path / "name"
    write(path, "old", kind)

    def write_half():
        with atomic_write(path) as temporary:
            write(temporary, "half", kind)
            raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        write_half()
    assert content_of(path) == "old"
    assert list(tmp_path.iterdir()) == [path]


@kinds
def test_a_failed_move_leaves_what_was_there(tmp_path, kind, monkeypatch):
    path = tmp_path / "name"
    write(path, "old", kind)
    replace = os.replace

    def fail_to_arrive(source, target):
        if Path(target) == path and "old" not in Path(source).parts:
            raise OSError("the disk went away")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_to_arrive)
    monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    with (
        pytest.raises(OSError, match="the disk went away"),
        atomic_write(path) as temporary,
    ):
        write(temporary, "new", kind)
    assert content_of(path) == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_nothing_is_an_error(tmp_path):
    with (
        pytest.raises(OSError, match=r"Nothing was written .*Received: path=.*name"),
        atomic_write(tmp_path / "name"),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_file_does_not_replace_a_folder(tmp_path):
    path = tmp_path / "results"
    make_folder(path, "precious")
    with (
        pytest.raises(IsADirectoryError, match=r"folder stands where.*Received: path=.*results"),
        atomic_write(path) as temporary,
    ):
        temporary.write_text("new")
    assert content_of(path) == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a.txt", tmp_path / "file" / "folder" / "a.txt"):
        with (
            pytest.raises(NotADirectoryError, match=f"a file has its name: '{path.parent}'"),
            atomic_write(path),
        ):
            pass


def test_a_folder_does_not_replace_a_file(tmp_path):
    path = tmp_path / "results"
    path.write_text("precious")
    with pytest.raises(NotADirectoryError), atomic_write(path) as temporary:
        make_folder(temporary, "new")
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


@kinds
@pytest.mark.parametrize("relative", [True, False])
def test_a_link_stays_and_its_target_is_replaced(tmp_path, kind, relative):
    target, link = tmp_path / "far" / "target", tmp_path / "link"
    target.parent.mkdir()
    write(target, "old", kind)
    link.symlink_to(Path("far/target") if relative else target)
    with atomic_write(link) as temporary:
        write(temporary, "new", kind)
    assert link.is_symlink()
    assert content_of(target) == "new"


def test_a_link_to_nothing_yet_is_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "later")
    with atomic_write(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "later").read_text() == "new"
    assert (tmp_path / "link").is_symlink()


def test_a_relative_path_is_written_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with atomic_write("name.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "name.txt").read_text() == "new"


# --- No permission, no space -----------------------------------------------------------------


@pytest.fixture
def read_only_folder():
    """A folder that may be read and not written to, also where the tests run as root."""
    # Not `tmp_path`, which another user cannot reach.
    folder = Path(tempfile.mkdtemp())
    (folder / "name").write_text("old")
    folder.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    yield folder
    if is_root:
        os.seteuid(0)
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
@pytest.mark.parametrize("name", ["name", "other", "new/name"])
def test_a_folder_without_write_permission_is_an_error(read_only_folder, name):
    with (
        pytest.raises(PermissionError, match=str(read_only_folder)),
        atomic_write(read_only_folder / name) as temporary,
    ):
        temporary.write_text("new")
    assert list(read_only_folder.iterdir()) == [read_only_folder / "name"]
    assert (read_only_folder / "name").read_text() == "old"


@pytest.fixture
def small_disk(tmp_path):
    """A folder with 64 KiB of space: a disk of that size, else a limit on every file's size."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") and subprocess.run(mount, capture_output=True).returncode == 0:
        yield folder
        subprocess.run(["umount", str(folder)], check=True)
        return
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@kinds
def test_a_full_disk_leaves_nothing_half_written(small_disk, kind):
    path = small_disk / "name"
    write(path, "old", kind)
    with pytest.raises(OSError, match=r"space|large"), atomic_write(path) as temporary:
        write(temporary, "new " * 100_000, kind)
    assert content_of(path) == "old"
    assert list(small_disk.iterdir()) == [path]


def test_a_model_that_does_not_fit_on_the_disk_leaves_nothing(small_disk):
    model = networks.dense(shape=(5_000,))
    with (
        pytest.raises(OSError, match=r"space|large|write"),
        atomic_write(small_disk / "model.keras") as temporary,
    ):
        model.save(temporary)
    assert not list(small_disk.iterdir())


def test_a_model_saves_and_loads_through_it(tmp_path):
    model = networks.dense()
    with atomic_write(tmp_path / "model.keras") as temporary:
        model.save(temporary)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


# --- Several at once -------------------------------------------------------------------------


@kinds
def test_writers_at_the_same_time_leave_one_whole_version(tmp_path, kind):
    path = tmp_path / "name"
    start = threading.Barrier(8)

    def writer(number):
        start.wait()
        for _ in range(60):
            with atomic_write(path) as temporary:
                write(temporary, str(number) * 1000, kind)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(writer, range(8)))
    assert content_of(path) in {str(number) * 1000 for number in range(8)}
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "name"
    path.write_text("0" * 100_000)
    done = threading.Event()

    def write_often():
        for number in range(100):
            with atomic_write(path) as temporary, temporary.open("w") as file:
                for _ in range(10):
                    file.write(str(number % 10) * 10_000)
                    file.flush()
        done.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write_often)
        while not done.is_set() and not writing.done():
            text = path.read_text()
            assert len(text) == 100_000
            assert len(set(text)) == 1
        writing.result()


# --- Streams, names, modes -------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/dev/null", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/2"])
def test_devices_and_standard_streams_are_streams(path):
    assert is_stream(path)
    check_replaceable(path)
    with pytest.raises(NotADirectoryError, match="not a device"):
        check_replaceable(path, folder=True)


def test_a_device_is_written_to_and_stays(tmp_path):
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except OSError:
        pytest.skip("only root may make a device")
    with atomic_write(device) as temporary:
        temporary.write_text("into the void")
    assert stat.S_ISCHR(device.stat().st_mode)
    assert list(tmp_path.iterdir()) == [device]


def test_a_pipe_is_written_to_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(pipe.read_text)
        with atomic_write(pipe) as temporary:
            temporary.write_text("through the pipe")
        assert reading.result() == "through the pipe"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_in_a_file_goes_on_behind_what_was_printed(tmp_path, path):
    script = (
        "import sys, types, importlib.machinery as m\n"
        "package = types.ModuleType('keras_lodin'); package.__path__ = [sys.argv[1]]\n"
        "sys.modules['keras_lodin'] = package\n"
        "from keras_lodin.utils.files import atomic_write\n"
        "print('before')\n"
        "with atomic_write(sys.argv[2]) as temporary: temporary.write_text('in between\\n')\n"
        "print('after')\n"
    )
    with (tmp_path / "printed").open("w") as printed:
        command = [sys.executable, "-c", script, str(Path(files.__file__).parents[1]), path]
        subprocess.run(command, stdout=printed, check=True)
    assert (tmp_path / "printed").read_text() == "before\nin between\nafter\n"


@kinds
@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "絵" * 85, "\udcff.png", ".hidden", "a b"])
def test_every_name_that_the_disk_takes_can_be_written(tmp_path, kind, name):
    with atomic_write(tmp_path / name) as temporary:
        write(temporary, "new", kind)
    assert content_of(tmp_path / name) == "new"
    assert os.listdir(tmp_path) == [name]


def test_who_may_read_the_old_file_may_read_the_new_one(tmp_path):
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o600)
    with atomic_write(path) as temporary:
        temporary.write_text("new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# --- Sets of files ---------------------------------------------------------------------------

SET = ("a.csv", "plots/b.png", "results.json")


def write_set(folder, content, names=SET):
    with write_together(folder, "results.json") as written:
        for name in names:
            (written / name).parent.mkdir(exist_ok=True)
            (written / name).write_text(content)


def set_in(folder):
    return {name: (folder / name).read_text() for name in SET if (folder / name).exists()}


def test_a_set_replaces_a_set_and_leaves_other_files_alone(tmp_path):
    for content in ("old", "new"):
        write_set(tmp_path / "results", content)
        assert set_in(tmp_path / "results") == dict.fromkeys(SET, content)
        (tmp_path / "results" / "notes.txt").write_text("precious")
    assert (tmp_path / "results" / "notes.txt").read_text() == "precious"
    assert not [name for name in os.listdir(tmp_path / "results") if name.startswith(".")]


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
def test_a_set_that_is_not_finished_changes_nothing(tmp_path, error):
    write_set(tmp_path, "old")

    def stops():
        with write_together(tmp_path, "results.json") as written:
            (written / "a.csv").write_text("new")
            raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        stops()
    assert set_in(tmp_path) == dict.fromkeys(SET, "old")
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "plots", "results.json"]


def test_a_full_disk_leaves_the_old_set_whole(small_disk):
    write_set(small_disk, "old")
    with pytest.raises(OSError, match=r"space|large"):
        write_set(small_disk, "new " * 8_000)
    assert set_in(small_disk) == dict.fromkeys(SET, "old")
    assert sorted(os.listdir(small_disk)) == ["a.csv", "plots", "results.json"]


def test_a_set_does_not_replace_a_folder_by_a_file(tmp_path):
    write_set(tmp_path, "old")
    (tmp_path / "a.csv").unlink()
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(IsADirectoryError, match=r"a\.csv"):
        write_set(tmp_path, "new")
    assert set(set_in_files(tmp_path).values()) == {"old"}


def set_in_files(folder):
    return {name: (folder / name).read_text() for name in SET if (folder / name).is_file()}


def test_the_most_telling_file_of_a_set_is_moved_last(tmp_path, monkeypatch):
    moved = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (moved.append(Path(b).name), replace(a, b)))
    with write_together(tmp_path, "b.json") as written:
        for name in ("a.csv", "b.json", "c.csv"):
            (written / name).write_text("new")
    assert moved[-3:] == ["a.csv", "c.csv", "b.json"]


def test_what_a_set_makes_out_of_date_goes_with_it(tmp_path):
    write_set(tmp_path, "old")
    with write_together(tmp_path, "results.json", stale=["plots/b.png"]) as written:
        (written / "results.json").write_text("new")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.csv", "plots", "results.json"]


# --- Killed at every step --------------------------------------------------------------------


class _KilledError(BaseException):
    """Nothing that a killed process would do happens after it."""


def steps_of(monkeypatch, stop_at):
    """Counts the calls that change a disk; at number `stop_at` the process is no more."""
    calls = {"count": 0}

    def counted(function):
        def call(*arguments, **options):
            if calls["count"] == stop_at:
                raise _KilledError
            calls["count"] += 1
            return function(*arguments, **options)

        return call

    for name in ("replace", "mkdir", "rmdir", "unlink"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    monkeypatch.setattr(files, "_remove", counted(files._remove))
    return calls


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("what", ["file", "folder", "set"])
def test_killed_at_any_step_it_is_old_or_new_and_clears_up(tmp_path, what, exchange, monkeypatch):
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)

    def write_new(folder, content):
        if what == "set":
            write_set(folder, content)
            return
        with atomic_write(folder / "name") as temporary:
            write(temporary, content, what)

    def found(folder):
        if what == "set":
            return set(set_in(folder).values())
        return {content_of(folder / "name")} if (folder / "name").exists() else set()

    survived, stop_at = False, 0
    while not survived:
        folder = tmp_path / str(stop_at)
        folder.mkdir()
        write_new(folder, "old")
        with monkeypatch.context() as patch:
            steps_of(patch, stop_at)
            try:
                write_new(folder, "new")
                survived = True
            except _KilledError:
                pass
        if what != "set" and (what == "file" or exchange):
            assert found(folder) in ({"old"}, {"new"})
        clear_leftovers(folder)
        assert found(folder) in ({"old"}, {"new"}), f"mixed or lost after step {stop_at}"
        assert not holds_leftovers(folder)
        write_new(folder, "again")
        assert found(folder) == {"again"}
        stop_at += 1
    assert stop_at > 3


def holds_leftovers(folder):
    return [name for name in os.listdir(folder) if name.startswith(".")]


def test_what_a_living_process_writes_is_left_alone(tmp_path):
    with atomic_write(tmp_path / "name") as temporary:
        temporary.write_text("new")
        clear_leftovers(tmp_path)
        check_replaceable(tmp_path / "name")
        check_fillable(tmp_path)
        assert temporary.read_text() == "new"
    assert content_of(tmp_path / "name") == "new"


def test_foreign_hidden_files_are_nobodys_leftovers(tmp_path):
    for name in (".keras-lodin", ".keras-lodin-notes", ".keras-lodin-0123456", ".git"):
        (tmp_path / name).mkdir()
    clear_leftovers(tmp_path)
    assert len(os.listdir(tmp_path)) == 4
    assert holds_others(tmp_path)


# --- Found before the work -------------------------------------------------------------------


def made_for_refusals(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("check", "name"),
    [
        (check_replaceable, "folder"),
        (check_replaceable, "file/below"),
        (check_replaceable, "file/far/below"),
        (check_replaceable, "dangling"),
        (check_replaceable, "n" * 256),
        (check_replaceable, "new/" + "n" * 256),
        (check_replaceable, "n" * 256 + "/new"),
        (check_fillable, "file"),
        (check_fillable, "file/below"),
        (check_fillable, "n" * 256),
        (check_fillable, "new/" + "n" * 300 + "/far"),
        (lambda path: check_replaceable(path, folder=True), "file"),
        (lambda path: check_replaceable(path, folder=True), "file/below"),
    ],
)
def test_what_cannot_be_written_is_found_before(check, name, tmp_path):
    made_for_refusals(tmp_path)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(OSError, match=r"Expected|too long"):
        check(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
@pytest.mark.parametrize("name", ["name", "other", "new/name"])
def test_a_read_only_folder_is_found_before(read_only_folder, name):
    for check in (check_replaceable, lambda path: check_fillable(path.parent)):
        with pytest.raises(PermissionError, match=str(read_only_folder)):
            check(read_only_folder / name)


def test_a_disk_that_is_full_is_found_before(small_disk):
    if not os.path.ismount(small_disk):
        pytest.skip("cannot mount a small disk here")
    with pytest.raises(OSError, match="space"):
        (small_disk / "filler").write_bytes(bytes(1 << 20))
    for check in (check_replaceable, lambda path: check_fillable(path.parent)):
        with pytest.raises(OSError, match="space"):
            check(small_disk / "new" / "name")


@pytest.mark.parametrize("name", ["name", "new/name", "link", "old"])
def test_what_can_be_written_is_let_through_without_a_trace(tmp_path, name):
    (tmp_path / "old").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "old")
    check_replaceable(tmp_path / name)
    check_fillable(tmp_path / "results" / "deep")
    assert sorted(os.listdir(tmp_path)) == ["link", "old"]
    assert (tmp_path / "old").read_text() == "precious"


# --- An output that is an input --------------------------------------------------------------


@pytest.mark.parametrize(
    "output",
    ["in.png", "./in.png", "folder/../in.png", "link.png", "folder/new.csv", "folder", "to/x.csv"],
)
def test_an_output_that_is_an_input_is_refused_by_any_name(tmp_path, output, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.png").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.png").symlink_to("in.png")
    (tmp_path / "to").symlink_to("folder")
    with pytest.raises(ValueError, match=r"also an input.*Received: output="):
        check_no_input(output, ["missing", "in.png", "folder"])


def test_an_output_beside_its_inputs_is_none(tmp_path):
    (tmp_path / "in.png").write_text("")
    (tmp_path / "folder").mkdir()
    for output in ("out.csv", "new/out.csv", "folder2"):
        check_no_input(tmp_path / output, [tmp_path / "in.png", tmp_path / "folder"])
