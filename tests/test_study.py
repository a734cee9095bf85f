"""The study's lists and its report: nothing on the page that is not in the CSV files."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import study  # noqa: E402
import study_report  # noqa: E402

TASKS = study.tasks(Path("data"), Path("work"))
RUN = [name for name in TASKS if (study.RESULTS / f"{name}.csv").exists()]


@pytest.mark.parametrize("name", TASKS)
def test_candidates_of_a_task_are_told_apart_and_have_a_control(name):
    candidates = TASKS[name].candidates
    assert candidates[0] == study.OFF
    assert len({c.name for c in candidates}) == len({c.folder for c in candidates})
    assert len({c.name for c in candidates}) == len(candidates)


@pytest.mark.parametrize("name", TASKS)
def test_the_rule_sees_no_test_data(name):
    task = TASKS[name]
    assert not set(task.validation_ood) & set(task.test_ood)
    assert task.validation != task.test
    kinds = {specification.split(":")[0] for specification in task.validation_ood}
    assert kinds <= {"noise", "photos", "npz"}


@pytest.mark.parametrize("name", RUN)
def test_every_candidate_ran_with_five_seeds_or_more(name):
    results = study_report.load(TASKS[name])
    for candidate in TASKS[name].candidates:
        seeds = {seed for found, seed, _ in results.rows if found == candidate.name}
        assert len(seeds) >= 5, candidate.name


@pytest.mark.parametrize("name", RUN)
def test_differences_are_those_of_a_paired_t_test(name):
    results = study_report.load(TASKS[name])
    path = study.RESULTS / f"{name}.csv"
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["detector"] == "odin"]

    def column(candidate):
        own = sorted((r for r in rows if r["candidate"] == candidate), key=lambda r: int(r["seed"]))
        return [np.mean([float(r[c]) for c in r if c.startswith("test_auroc:")]) for r in own]

    for candidate in results.names[1:4]:
        gain = results.gain(candidate, "test_auroc")
        expected = stats.ttest_rel(column(candidate), column("off")).confidence_interval(0.95)
        np.testing.assert_allclose(gain.interval, (expected.low, expected.high), rtol=1e-6)


@pytest.mark.grid(4)
@pytest.mark.parametrize("name", RUN)
def test_pages_are_those_of_the_csv_files(name):
    page = (study.RESULTS / f"{name}.md").read_text(encoding="utf-8")
    assert study_report.task_page(study_report.load(TASKS[name])) == page


@pytest.mark.slow
def test_summaries_are_those_of_the_csv_files(tmp_path):
    every = [study_report.load(TASKS[name]) for name in RUN]
    for file, rows_of in (
        ("summary.csv", study_report.summary_rows),
        ("methods.csv", study_report.method_rows),
        ("against.csv", study_report.against_rows),
        ("increments.csv", study_report.increment_rows),
    ):
        rows = [row for results in every for row in rows_of(results) if _shown(file, results)]
        study_report.write_csv(tmp_path / file, rows)
        assert (tmp_path / file).read_text() == (study.RESULTS / file).read_text()


def _shown(file, results):
    return file in ("summary.csv", "increments.csv") or study_report.alternatives(results.names)


@pytest.mark.slow
def test_the_reduced_study_runs_from_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["study.py", "--reduced", "--work", str(tmp_path), "--workers", "2"]
    )
    study.main()
    with open(tmp_path / "reduced" / "digits.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * 2 * 4
    assert all(0.5 < float(row["test_auroc:digits-7-9"]) <= 1.0 for row in rows)


def test_what_the_right_gradient_changes_is_paired_by_the_seeds_of_both_runs():
    with open(study.RESULTS / "changed.csv", newline="") as file:
        changed = {(row["task"], row["training"]): row for row in csv.DictReader(file)}
    assert changed
    for (task, training), row in changed.items():
        before = study_report.load(TASKS[task], study_report.WRONG)
        after = study_report.load(TASKS[task])
        both = set.intersection(
            *(
                set(results.values(who, "test_auroc"))
                for results in (before, after)
                for who in (training, "off")
            )
        )
        assert len(both) == int(row["seeds"])
        own, control = (after.values(who, "test_auroc") for who in (training, "off"))
        gain = 100 * np.mean([own[seed] - control[seed] for seed in both])
        assert row["odin after"].split(" ")[0] == f"{gain:+.2f}"
