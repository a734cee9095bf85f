"""Groups of OOD sets and shifted data by name: `test_jobs.py` has all else of the evaluation."""

import shutil

import numpy as np
import pytest

from keras_lodin.data.passes import BatchFunction
from keras_lodin.evaluation.scored_sets import ScoredSets
from keras_lodin.workflows import evaluate_models, evaluation_folder
from keras_lodin.workflows.evaluate import ood_sets
from tests import networks
from tests.openood import write_openood

NEAR = ("openood:cifar10:cifar100", "openood:cifar10:tin")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def openood(tmp_path_factory, images):
    return write_openood(tmp_path_factory.mktemp("openood"), images)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "net.keras"
    networks.convolutional(classes=3, shape=(8, 8, 3)).save(path)
    return path


def evaluated(model, data_dir, **settings):
    given = {"detectors": ["msp"], "input_range": (0, 1), "resamples": 2, "verbose": 0}
    return evaluate_models(
        [model], "openood:cifar10:id", data_dir=data_dir, **{**given, **settings}
    )


@pytest.mark.filterwarnings("ignore:.*no better than chance:UserWarning")  # untrained
def test_groups_of_openood_become_rows_with_means_of_their_own(model, openood, images, tmp_path):
    np.savez(tmp_path / "dark.npz", x=images // 2, y=np.arange(12) % 3)
    found = evaluated(
        model,
        openood,
        ood=["noise:uniform:9"],
        groups={"near": ["openood:cifar10:near"], "far": ["openood:cifar10:svhn"]},
        shifted=[f"npz:{tmp_path / 'dark.npz'}"],
    )
    assert [(row["ood"], row["group"]) for row in found.rows if not row["full_spectrum"]] == [
        *(("noise:uniform:9", None), *((name, "near") for name in NEAR)),
        ("openood:cifar10:svhn", "far"),
    ]
    assert [(row["group"], row["ood_sets"]) for row in found.means[:3]] == [
        *(("near", 2), ("far", 1), (None, 4))
    ]
    assert found.id["name"] == "openood:cifar10:id"
    assert [one["count"] for one in (found.id, *found.shifted)] == [12, 12]
    assert all(one["accuracy"] is not None for one in (found.id, *found.shifted))


def test_a_group_has_its_own_name_unless_it_is_given_another():
    own = dict.fromkeys(NEAR, "near")
    assert ood_sets(["openood:cifar10:near", "photos"], {}) == {**own, "photos": None}
    assert ood_sets(["openood:cifar10:tin"], {}) == {"openood:cifar10:tin": None}
    assert ood_sets([], {"mine": ["openood:cifar10:near"]}) == dict.fromkeys(NEAR, "mine")
    assert ood_sets(["photos"], {"far": [], "near": ["noise:uniform"]}) == {
        "photos": None,
        "noise:uniform": "near",
    }


@pytest.mark.parametrize(
    ("ood", "groups", "message"),
    [
        ([], {"near": [], "far": []}, "one or more.*--near SPEC.*Received: ood=\\[\\], groups="),
        ("photos", {}, "`ood` must be a list of names"),
        ([], {"near": "photos"}, r"`groups\['near'\]` must be a list of names"),
        ([], ["photos"], "`groups` must be a dict"),
        (["openood:cifar10:tin"], {"far": ["openood:cifar10:near"]}, "each once"),
        (["photo"], {}, "Did you mean 'photos'"),
    ],
)
def test_what_names_no_sets_is_refused(ood, groups, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ood_sets(ood, groups)


def test_what_is_missing_of_all_groups_is_named_before_any_work(openood, tmp_path):
    copy = shutil.copytree(openood, tmp_path / "copy")
    (copy / "benchmark_imglist/cifar10/test_tin.txt").unlink()
    shutil.rmtree(copy / "images_classic/test_svhn")
    groups = {"near": ["openood:cifar10:near"], "far": ["openood:cifar10:far"]}
    with pytest.raises(FileNotFoundError) as caught:
        evaluated("no_model.keras", copy, groups=groups)
    assert "openood:cifar10:near: the image lists" in str(caught.value)
    assert "test_tin.txt are not in" in str(caught.value)
    assert "openood:cifar10:far: 12 of the 12 images" in str(caught.value)


@pytest.fixture
def evaluated_there(model, images, tmp_path, monkeypatch):
    """An evaluation of four data sets into a folder, and the names of the sets that it scored."""
    for name, divisor in (("id", 1), ("dark", 2), ("darker", 4), ("black", 255)):
        np.savez(tmp_path / f"{name}.npz", x=images // divisor, y=np.arange(12) % 3)
    monkeypatch.chdir(tmp_path)
    scored = []
    over = BatchFunction.over

    def counting(self, data, *others, **settings):
        scored.append(data.name)
        return over(self, data, *others, **settings)

    monkeypatch.setattr(BatchFunction, "over", counting)

    def run(output="results", **settings):
        given = {"detectors": ["msp", "energy"], "input_range": (0, 1), "resamples": 2}
        scored.clear()
        with evaluation_folder(output):
            return evaluate_models(
                settings.pop("paths", [model]),
                "npz:id.npz",
                ["npz:darker.npz", "npz:black.npz"],
                **{"shifted": ["npz:dark.npz"], **given, **settings},
                output=output,
                verbose=0,
            )

    return run, scored


def killed_after(count, monkeypatch):
    kept = []
    keep = ScoredSets.keep

    def killed(self, name, scored):
        keep(self, name, scored)
        kept.append(name)
        if len(kept) == count:
            raise KeyboardInterrupt

    monkeypatch.setattr(ScoredSets, "keep", killed)


@pytest.mark.filterwarnings("ignore:.*no better than chance:UserWarning")  # untrained
@pytest.mark.filterwarnings("ignore:The data fill only:UserWarning")
def test_killed_it_goes_on_with_the_next_data_set(evaluated_there, tmp_path, monkeypatch):
    run, scored = evaluated_there
    whole = run(output=None)
    assert len(scored) == 4
    with monkeypatch.context() as patch:
        killed_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            run()
    found = run()
    assert scored == ["npz:darker.npz", "npz:black.npz"]
    assert found.to_dict() == whole.to_dict()
    for detector, sets in whole.scores.items():
        for name, scores in sets.items():
            np.testing.assert_array_equal(found.scores[detector][name], scores)
            for (score, number, pixels), expected in zip(
                found.extremes[detector][name], whole.extremes[detector][name], strict=True
            ):
                assert (score, number) == expected[:2]
                np.testing.assert_array_equal(pixels, expected[2])
    # The results were saved, or shown: nothing is kept, and any evaluation can begin there.
    assert not list((tmp_path / "results").iterdir())


@pytest.mark.filterwarnings("ignore:.*no better than chance:UserWarning")  # untrained
@pytest.mark.filterwarnings("ignore:The data fill only:UserWarning")
def test_it_goes_on_with_nothing_but_the_same(evaluated_there, model, tmp_path, monkeypatch):
    run, scored = evaluated_there
    with monkeypatch.context() as patch:
        killed_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            run()
    other = tmp_path / "other.keras"
    networks.convolutional(classes=3, shape=(8, 8, 3)).save(other)
    for settings, message in (
        ({"detectors": ["msp"]}, r"detectors was \['msp', 'energy'\] and is \['msp'\]"),
        ({"paths": [other]}, "begun evaluation with other settings.*models was"),
        ({"batch_size": 3}, "batch_size was 128 and is 3"),
        ({"shifted": []}, "shifted was"),
    ):
        with pytest.raises(ValueError, match=message):
            run(**settings)
    assert not scored
    np.savez(tmp_path / "black.npz", x=np.zeros((5, 8, 8, 3), "uint8"))
    with pytest.raises(ValueError, match=r"begun on other data.*npz:black.npz: as many, in other"):
        run()
    run(output="elsewhere")
    assert len(scored) == 4
