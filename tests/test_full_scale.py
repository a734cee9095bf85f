"""The queue of docs/full_scale.md: its order, its files, its tables. Nothing here needs PyTorch."""

import csv
import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_lodin import metrics

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from scale import data, figures, methods, plan, report, results  # noqa: E402
from scale.methods import Method  # noqa: E402
from scale.plan import Cell  # noqa: E402

SIZES = {"test": 60, "tiny_imagenet": 40, "dtd": 20, "mnist": 30, "fashion_mnist": 30}
RESULTS = ROOT / "docs" / "results" / "full_scale"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("off", Method("off")),
        ("label_smoothing:0.1", Method("label_smoothing:0.1", smoothing=0.1)),
        ("logit_norm:0.04", Method("logit_norm:0.04", norm_temperature=0.04)),
        (
            "gq pooled exact 1e-06",
            Method("gq pooled exact 1e-06", methods.TWO, weight=1e-6, pooled=True),
        ),
        ("gq logits sampled 1", Method("gq logits sampled 1", methods.TWO, weight=1.0)),
        ("gq softmax exact 1e-06", Method("gq softmax exact 1e-06", methods.SOFTMAX, weight=1e-6)),
        ("gradient_penalty 0.1", Method("gradient_penalty 0.1", methods.PENALTY, weight=0.1)),
        (
            "label_smoothing:0.1 + gq logits exact -0.1",
            Method(
                "label_smoothing:0.1 + gq logits exact -0.1",
                methods.LOGITS,
                smoothing=0.1,
                weight=-0.1,
            ),
        ),
    ],
)
def test_a_method_is_what_its_name_says(name, expected):
    assert Method.of(name) == expected


@pytest.mark.parametrize(
    "name", ["", "on", "gq", "gq logits 1", "gq pooled sampled 1", "label_smoothing", "off + off"]
)
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match=r"Received: '"):
        Method.of(name)


def test_a_control_comes_before_what_is_compared_with_it_and_nothing_twice():
    cells = plan.cells()
    assert len(set(cells)) == len(cells) == 3 * len(plan.METHODS) * len(plan.SEEDS)
    place = {cell: number for number, cell in enumerate(cells)}
    for cell in cells:
        assert place[Cell(cell.network, plan.OFF, cell.seed)] <= place[cell]
    first = cells[: len(plan.FIRST)]
    assert {cell.seed for cell in first} == {0}
    assert [cell.method for cell in first] == list(plan.FIRST)


def random_scores(rng, shift):
    scores = rng.normal(size=(5, sum(SIZES.values()))).astype("float32")
    scores[:, : SIZES["test"]] += shift
    # Ties, as MSP has them.
    scores[0] = np.round(scores[0], 1)
    return scores


def test_figures_are_those_of_the_package(rng):
    scores = random_scores(rng, 1.0)
    found = figures.figures(scores, SIZES)
    edges = np.cumsum([0, *SIZES.values()])
    for row, detector in enumerate(figures.DETECTORS):
        for number, name in enumerate(data.OOD, 1):
            ours, theirs = scores[row, : edges[1]], scores[row, edges[number] : edges[number + 1]]
            assert found[detector][f"auroc:{name}"] == metrics.auroc(ours, theirs)
            assert found[detector][f"fpr95:{name}"] == metrics.fpr_at_tpr(ours, theirs)


def test_a_training_that_diverged_has_no_figures_and_stops_nothing(rng):
    scores = random_scores(rng, 1.0)
    scores[3, 5] = np.nan
    found = figures.figures(scores, SIZES)
    assert all(np.isnan(value) for value in found["odin"].values())
    assert all(np.isfinite(value) for value in found["msp"].values())


def finished(rng, shift):
    rows = [
        {"detector": name, "id_accuracy": 0.9, "seconds": 2.0, "device": "d", "dtype": "float32"}
        | {"versions": "v", **own}
        for name, own in figures.figures(random_scores(rng, shift), SIZES).items()
    ]
    return rows, [{"epoch": 1, "loss": "1.0", "accuracy": "0.5", "added": "nan"}]


def test_finished_cells_are_found_again_and_merged(tmp_path, rng):
    scores = figures.kept(random_scores(rng, 1.0))
    cells = [Cell("resnet20", "off", 0), Cell("resnet20", "gq logits sampled 1", 0)]
    for number, cell in enumerate(cells):
        one = results.Results(tmp_path / str(number))
        assert not one.done()
        one.add(cell, *finished(rng, 1.0), scores)
    merged = results.Results(tmp_path / "0")
    assert results.merge(results.Results(tmp_path / "1"), merged) == 1
    again = results.Results(tmp_path / "0")
    assert again.done() == set(cells)
    assert results.merge(results.Results(tmp_path / "1"), again) == 0
    assert len(again.figures) == 8
    assert len(again.curves) == 2
    assert len(list((tmp_path / "0").glob("scores_resnet20_*.npz"))) == 2
    np.testing.assert_array_equal(again.scores(cells[1]), scores)


def test_kept_scores_order_images_as_the_scores_do(rng):
    scores = random_scores(rng, 0.0)
    kept = figures.kept(scores)
    assert kept.dtype == np.float16
    for row, source in enumerate((4, 1, 2, 3)):
        order = np.argsort(scores[source], kind="stable")
        assert np.all(np.diff(kept[row].astype("float64")[order]) >= 0.0)


def test_the_report_pairs_by_seed_and_lists_what_is_open(tmp_path, rng):
    folder = results.Results(tmp_path)
    for seed in range(3):
        for method in ("off", "gq logits sampled 1", "logit_norm:0.04"):
            folder.add(
                Cell("wide_resnet_34_1", method, seed),
                *finished(rng, 1.0 + 0.1 * seed),
                figures.kept(random_scores(rng, 1.0)),
            )
    written = {
        path.name: list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        for path in report.write(tmp_path)
    }
    assert [row["seeds"] for row in written["means.csv"]] == ["3", "3", "3"]
    (gain, _) = written["differences.csv"]
    ours, theirs = (
        report.values(folder, "wide_resnet_34_1", method, "auroc")
        for method in ("gq logits sampled 1", "off")
    )
    mean = np.mean([ours[seed] - theirs[seed] for seed in range(3)])
    assert gain["odin_auroc"].startswith(f"{mean:+.2f} ± {gain['sensitivity']}")
    (against,) = written["against.csv"]
    assert against["alternative"] == "logit_norm:0.04"
    still = {(row["network"], row["method"]): row["seeds"] for row in written["open.csv"]}
    assert still["wide_resnet_34_1", "off"] == "3 4"
    assert still["resnet18", "off"] == "0 1 2 3 4"
    count = sum(len(seeds.split()) for seeds in still.values())
    assert count == len(plan.cells()) - 9


@pytest.mark.parametrize(
    "folder",
    [RESULTS, RESULTS / "first_budget", RESULTS / "nights"],
    ids=lambda path: path.name,
)
def test_derived_files_are_those_of_the_committed_runs(folder, tmp_path):
    for name in ("figures.csv", "curves.csv"):
        if (folder / name).exists():
            (tmp_path / name).write_bytes((folder / name).read_bytes())
    for path in report.write(tmp_path, planned=folder == RESULTS):
        assert path.read_text() == (folder / path.name).read_text(), path.name


def test_cells_of_another_day_are_those_of_the_plan():
    """What has run under the plan's recipe has the numbers that the plan says."""
    for row in results.Results(RESULTS).figures:
        recipe = plan.RECIPES[row["network"]]
        assert int(row["epochs"]) == recipe.epochs
        assert int(row["batch"]) == recipe.batch


def test_packed_images_come_back_from_tfrecords(tmp_path, rng):
    pixels = {}
    for name, (dataset, split) in data.SETS.items():
        folder = tmp_path / "tfds" / dataset / "1.0.0"
        folder.mkdir(parents=True, exist_ok=True)
        images = rng.integers(0, 256, size=(3, 32, 32, 3), dtype=np.uint8)
        records = []
        pixels[name] = []
        for label, image in enumerate(images):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "JPEG", quality=75)
            pixels[name].append(np.asarray(Image.open(buffer).convert("RGB")))
            record = example(buffer.getvalue(), 100 * label)
            records.append(struct.pack("<QI", len(record), 0) + record + bytes(4))
        (folder / f"{dataset}-{split}.tfrecord-00000-of-00001").write_bytes(b"".join(records))
    data.pack(tmp_path / "tfds", tmp_path / "data.npz")
    found = data.load(tmp_path / "data.npz")
    assert list(found) == list(data.SETS)
    for name, (images, labels) in found.items():
        np.testing.assert_array_equal(images, pixels[name])
        np.testing.assert_array_equal(labels, [0, 100, 200])
    assert len(data.load(tmp_path / "data.npz", 2)["mnist"][1]) == 2


def example(image, label):
    """A serialized `tf.train.Example`, with TensorFlow."""
    import tensorflow as tf

    features = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def test_a_missing_data_set_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="cifar10_jpeg75"):
        data.pack(tmp_path, tmp_path / "data.npz")
