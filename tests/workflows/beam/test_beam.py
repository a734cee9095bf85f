"""Apache Beam carries the same work: `make test-beam` runs these in an environment that has it."""

import contextlib
import os
import pickle
import signal
import threading
import time

import keras
import numpy as np
import pytest

beam = pytest.importorskip("apache_beam")

import keras_lodin  # noqa: E402
from keras_lodin.detectors.statistics_detector import observed_together  # noqa: E402
from keras_lodin.utils.files import OWN_PREFIX  # noqa: E402
from keras_lodin.workflows import count_scores, score_to_folder  # noqa: E402
from keras_lodin.workflows.beam import (  # noqa: E402
    CombineScores,
    CountScores,
    MergeStatistics,
    ScoreShards,
    TakeStatistics,
    score_on_beam,
)
from keras_lodin.workflows.scoring import ScoreFolder, summarize  # noqa: E402

# Beam's own, of packages that it imports.
pytestmark = pytest.mark.filterwarnings("default")
IN_MEMORY = "FnApiRunner"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A detector, forty images, two of which cannot be read, and their scores by one process."""
    folder = tmp_path_factory.mktemp("made")
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(6, "relu"), keras.layers.Dense(3)]
    detector = keras_lodin.MSPDetector(keras.Sequential([keras.Input((8, 8, 1)), *layers]))
    drawn = np.random.default_rng(0)
    detector.calibrate(drawn.uniform(size=(200, 8, 8, 1)).astype("float32"), verbose=0)
    detector.save(folder / "detector.keras")
    (folder / "images").mkdir()
    for number in range(40):
        path = folder / "images" / f"{number:02}.png"
        keras.utils.save_img(path, drawn.integers(0, 256, (9, 7, 3)), scale=False)
    path.write_bytes(b"")
    (folder / "images" / "07.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    score_to_folder(folder / "detector.keras", [folder / "images"], folder / "one", shard_size=5)
    return folder


def rows(path):
    folder = ScoreFolder(path)
    found = [folder.rows(name) for name in folder.done()]
    texts = {name: [text for one in found for text in one[name]] for name in ("key", "class_name")}
    numbers = ("class", "score", "is_ood", "p_value")
    return texts, {name: np.concatenate([one[name] for one in found]) for name in numbers}


def check_same(made, output):
    (texts, numbers), (expected, others) = rows(output), rows(made / "one")
    assert texts == expected
    for name, values in numbers.items():
        np.testing.assert_allclose(values, others[name], rtol=1e-6)
    one, other = ScoreFolder(made / "one"), ScoreFolder(output)
    assert other.manifest() == one.manifest()
    for name in one.done():
        assert list(other.unreadable(name)) == list(one.unreadable(name))
    assert not [path for path in output.iterdir() if path.name.startswith(OWN_PREFIX)]


def score(made, output, runner, *options):
    return score_on_beam(
        *(made / "detector.keras", [made / "images"], output),
        shard_size=5,
        runner=runner,
        options=options,
    )


def test_in_memory_the_rows_are_those_of_one_process(made, tmp_path):
    summary = score(made, tmp_path / "out", IN_MEMORY)
    check_same(made, tmp_path / "out")
    assert (summary.done, summary.images, summary.unreadable) == (8, 40, 2)
    # Again, and nothing is left to do.
    assert score(made, tmp_path / "out", IN_MEMORY) == summary


def test_what_is_done_is_left_and_another_plan_refused(made, tmp_path):
    shards = keras_lodin.plan([made / "images"], 5)
    keras_lodin.score_shard(made / "detector.keras", shards[3], tmp_path / "out")
    before = (tmp_path / "out" / "scores" / "00003.parquet").stat().st_mtime_ns
    score(made, tmp_path / "out", IN_MEMORY)
    assert (tmp_path / "out" / "scores" / "00003.parquet").stat().st_mtime_ns == before
    check_same(made, tmp_path / "out")
    with pytest.raises(ValueError, match="shard_size was 5 and is 10000"):
        score_on_beam(
            made / "detector.keras", [made / "images"], tmp_path / "out", runner=IN_MEMORY
        )


def test_a_pipeline_of_ones_own_gets_the_figures(made, tmp_path):
    with beam.Pipeline(runner=IN_MEMORY) as pipeline:
        (
            pipeline
            | beam.Create(keras_lodin.plan([made / "images"], 5))
            | ScoreShards(made / "detector.keras", tmp_path / "out", batch_size=3)
            | beam.Map(lambda outcome: outcome["scored"])
            | beam.CombineGlobally(sum)
            | beam.Map(lambda total: (tmp_path / "total").write_text(str(total)))
        )
    assert (tmp_path / "total").read_text() == "38"


def mahalanobis(tmp_path):
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Flatten(), keras.layers.Dense(6, "relu"), keras.layers.Dense(7)]
    classifier = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    detector = keras_lodin.MahalanobisDetector(classifier)
    detector.save(tmp_path / "mahalanobis.keras")
    return detector


def test_statistics_in_parts_are_those_of_one_pass(tmp_path):
    detector, data = mahalanobis(tmp_path), "digits:0-6"
    low, high = detector.judged_input_range.bounds
    source = keras_lodin.data.load(data, part="all", image_shape=(8, 8, 1), input_range=(low, high))
    (expected,) = observed_together([detector], source, 128, 0)

    def keep(statistics):
        (tmp_path / "statistics").write_bytes(pickle.dumps(statistics))

    with beam.Pipeline(runner=IN_MEMORY) as pipeline:
        taken = TakeStatistics(tmp_path / "mahalanobis.keras", data, shard_size=150)
        pipeline | taken | beam.Map(keep)
    found = pickle.loads((tmp_path / "statistics").read_bytes())
    assert found.keys() == expected.keys()
    for name, one in expected.items():
        for attribute, value in vars(one).items():
            other = vars(found[name])[attribute]
            np.testing.assert_allclose(other, value, rtol=1e-12, atol=1e-12 * np.abs(value).max())
    detector.adapt_from(found)
    assert detector.adapted
    assert MergeStatistics().merge_accumulators([None, None]) is None


def test_what_has_no_statistics_to_merge_is_refused(made):
    with pytest.raises(ValueError, match="Expected a detector whose statistics can be merged"):
        TakeStatistics(made / "detector.keras", "digits")


def counted(tmp_path, transform):
    """The one value of a pipeline."""

    def keep(histogram):
        (tmp_path / "histogram").write_bytes(pickle.dumps(histogram))

    with beam.Pipeline(runner=IN_MEMORY) as pipeline:
        pipeline | transform | beam.Map(keep)
    return pickle.loads((tmp_path / "histogram").read_bytes())


def test_scores_are_counted_as_by_one_process(made, tmp_path):
    expected = count_scores(made / "one")
    first = counted(tmp_path, CountScores(made / "one"))
    second = counted(tmp_path, CountScores(made / "one", first.finer(tpr=0.9)))
    scores = rows(made / "one")[1]["score"]
    for found in (first, second):
        assert found.count == expected.count == 38
        assert found.threshold_at_tpr(0.9) == expected.threshold_at_tpr(0.9)
        np.testing.assert_array_equal(found.p_values(scores), expected.p_values(scores))
    # What is there already is there once, into however many parts the work is divided.
    combine = CombineScores(first)
    parts = [combine.add_input(combine.create_accumulator(), scores[:5]) for _ in range(3)]
    assert combine.extract_output(combine.merge_accumulators(parts)).count == 38 + 15
    assert first.count == 38


@pytest.mark.slow
def test_several_processes_give_the_same_rows(made, tmp_path):
    options = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    score(made, tmp_path / "out", IN_MEMORY, *options)
    check_same(made, tmp_path / "out")


@contextlib.contextmanager
def cluster():
    from dask.distributed import LocalCluster

    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        host="127.0.0.1",
    ) as started:
        yield started


def on_dask(made, output, started):
    return score(
        *(made, output, "apache_beam.runners.dask.dask_runner.DaskRunner"),
        f"--dask_client_address={started.scheduler_address}",
    )


@pytest.mark.slow
def test_dask_gives_the_same_rows(made, tmp_path):
    with cluster() as started:
        on_dask(made, tmp_path / "out", started)
    check_same(made, tmp_path / "out")


@pytest.mark.slow
def test_a_worker_of_dask_that_is_killed_costs_no_row(made, tmp_path):
    output = tmp_path / "out"
    with cluster() as started:
        workers = [worker.pid for worker in started.workers.values()]
        killed = threading.Event()

        def kill():
            while not list((output / "scores").glob("*")):
                time.sleep(0.05)
            os.kill(workers[0], signal.SIGKILL)
            killed.set()

        threading.Thread(target=kill, daemon=True).start()
        on_dask(made, output, started)
    assert killed.is_set()
    check_same(made, output)
    assert summarize(ScoreFolder(output)).done == 8
