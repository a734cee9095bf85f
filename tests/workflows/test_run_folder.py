"""What a job finds in its folder: nothing, its own state to go on with, or a reason to refuse."""

import pytest

from keras_lodin.workflows.run_folder import JobFolder


def test_a_state_is_read_as_it_was_written(tmp_path):
    run = JobFolder(tmp_path, "run")
    assert run.earlier_state("run.json") is None
    run.record("run.json", {"settings": {"name": "gemälde", "weights": (1.0,)}, "complete": False})
    state = run.earlier_state("run.json", settings=dict, complete=bool)
    assert state == {"settings": {"name": "gemälde", "weights": [1.0]}, "complete": False}
    # A setting that is a tuple is the list that was read.
    now = {"weights": (1.0,), "name": "gemälde"}
    run.check_same_settings(state["settings"], now)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b"{}", b'{"settings": 3}', b"\xff{}", b'{"complete": true}']
)
def test_a_damaged_state_is_refused_by_name(content, tmp_path):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.json of the sweep is damaged.*Received: output="):
        JobFolder(tmp_path, "sweep").earlier_state("run.json", settings=dict)


def test_a_job_begins_in_a_new_or_empty_folder_only(tmp_path):
    JobFolder(tmp_path / "new", "run").check_begins()
    JobFolder(tmp_path, "run").check_begins()
    (tmp_path / ".keras-lodin.lock").write_text("")
    JobFolder(tmp_path, "run").check_begins()
    (tmp_path / "notes.txt").write_text("mine")
    for output in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(ValueError, match=r"new or empty folder.*same run\. Received: output="):
            JobFolder(output, "run").check_begins()


def test_every_setting_that_differs_is_named_and_no_other(tmp_path):
    before = {"epochs": 3, "seed": 0, "norm": "l2", "unset": None}
    now = {"epochs": 4, "seed": 0, "loss": "x"}
    with pytest.raises(ValueError, match="a sweep with other settings") as caught:
        JobFolder(tmp_path, "sweep").check_same_settings(before, now)
    told = str(caught.value)
    assert "epochs was 3 and is 4; loss was None and is 'x'; norm was 'l2' and is None. " in told
    assert "seed" not in told
    assert "unset" not in told


def test_data_that_were_recorded_must_be_the_same(tmp_path):
    before = {"training": {"count": 5, "files": "a"}}
    run = JobFolder(tmp_path, "run")
    run.check_same_data(before, {**before, "validation": {"count": 9}})
    for now, told in (
        ({"count": 6, "files": "b"}, "training: count was 5 and is 6"),
        ({"count": 5, "files": "b"}, "training: as many, in other files"),
    ):
        with pytest.raises(ValueError, match=rf"run that was begun on other data.*{told}"):
            run.check_same_data(before, {"training": now})
