"""What another package registers is there: in help texts, in `evaluate`, in the report."""

import json
import math
import os
import subprocess
import textwrap
import warnings
from dataclasses import replace

import numpy as np
import pytest

from keras_lodin.data import SOURCES
from keras_lodin.detectors import DETECTORS, MSPDetector, registry
from keras_lodin.evaluation.one_pass import evaluate
from keras_lodin.export import FORMATS
from keras_lodin.metrics import FIGURES
from keras_lodin.models.networks import NETWORKS
from keras_lodin.training.losses import LOSSES
from keras_lodin.utils.plugins import import_plugins
from keras_lodin.utils.registry import Registry
from keras_lodin_cli import registered as help_texts
from tests import networks
from tests.processes import forked

PLUGIN = """
    from dataclasses import dataclass

    import keras
    import numpy as np
    from keras import ops

    import keras_lodin
    from keras_lodin.data.sources.arrays import array_source
    from keras_lodin.detectors import DETECTORS


    @DETECTORS.register("margin")
    @keras.saving.register_keras_serializable(package="extras")
    class MarginDetector(keras_lodin.Detector):
        def score(self, forward_pass):
            largest, _ = ops.top_k(forward_pass.logits, 2)
            return largest[:, 0] - largest[:, 1]


    @keras_lodin.data.SOURCES.register("grey", description="grey[:COUNT]: grey images; grey:20")
    @dataclass(frozen=True)
    class Grey(keras_lodin.data.NamedSource):
        count: int

        @classmethod
        def parse(cls, argument):
            return cls(int(argument or 10))

        def load(self, request):
            shape, input_range = request.image_shape, request.input_range
            x = np.full((self.count, *shape), np.mean(input_range), "float32")
            return array_source(request.name, x, None, None, shape=shape, input_range=input_range)


    @keras_lodin.metrics.figure("fpr80", "FPR80", "Kept OOD.", higher_is_better=False)
    def fpr80(id_scores, ood_scores):
        return keras_lodin.metrics.fpr_at_tpr(id_scores, ood_scores, tpr=0.8)
"""

# The package is imported anew: it was, before there was the other one.
SESSION = """
    import sys

    del sys.modules["keras_lodin"]
    import keras_lodin
    from keras_lodin_cli.main import main

    for command in (
        ["evaluate", "--help"],
        ["evaluate", sys.argv[1], "--id", "digits:0-2", "--ood", "grey:20", "--ood", "digits:3",
         "--detector", "margin", "--detector", "msp", "--resamples", "20", "--output", "results"],
    ):
        main(command, standalone_mode=False)
    mistaken = ["evaluate", sys.argv[1], "--id", "digits:0-2", "--ood", "gray"]
    try:
        main(mistaken, standalone_mode=False)
    except Exception as error:
        print(error)
"""


def installed(folder, name, module, code):
    """What pip leaves of a package with one entry point."""
    facts = folder / f"{name}-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[keras_lodin]\n{name} = {module}\n")
    (folder / f"{module}.py").write_text(textwrap.dedent(code))


def test_a_detector_a_source_and_a_figure_of_another_package(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    installed(site, "extras", "lodin_extras", PLUGIN)
    networks.dense(shape=(8, 8, 1), classes=3).save(tmp_path / "classifier.keras")
    done = subprocess.run(
        [forked("python"), "-c", textwrap.dedent(SESSION), "classifier.keras"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.split())
    assert ", ".join([*DETECTORS, "margin."]) in words
    assert "grey[:COUNT]: grey images; grey:20" in words
    assert "detection_error, fpr80." in words
    assert "Did you mean 'grey'?" in words
    assert "FPR80" in words
    results = json.loads((tmp_path / "results/results.json").read_text())
    assert [(row["detector"], row["ood"]) for row in results["results"]] == [
        *(("margin", "grey:20"), ("margin", "digits:3"), ("msp", "grey:20"), ("msp", "digits:3"))
    ]
    assert all(0 <= row["fpr80"] <= 1 for row in results["results"] + results["means"])
    assert results["definitions"]["fpr80"] == "Kept OOD."
    assert "fpr80" in (tmp_path / "results/results.csv").read_text().splitlines()[0].split(",")
    page = (tmp_path / "results/report.html").read_text()
    for text in ("FPR80", "margin", "grey:20", "Kept OOD."):
        assert text in page


def test_one_that_cannot_be_imported_is_warned_of(tmp_path, monkeypatch):
    installed(tmp_path, "broken", "lodin_broken", "import a_module_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(UserWarning, match="What 'broken' adds to keras-lodin is not there"):
        import_plugins()


class Picky(MSPDetector):
    """What refuses every classifier, and needs no statistics to do so."""

    def __init__(self, *arguments, **options):
        raise ValueError("The classifier must know birds. Received: none")


def test_a_detector_that_refuses_the_classifier_is_left_out_with_a_sentence(monkeypatch):
    monkeypatch.setitem(DETECTORS, "picky", Picky)
    classifier = networks.dense(classes=3)
    with pytest.warns(UserWarning, match=r"'picky' is left out: The classifier must know birds\."):
        found = registry.build_all(None, classifier, None)
    assert {"msp", "odin"} <= found.keys()
    assert "picky" not in found
    with pytest.raises(ValueError, match="must know birds"):
        registry.build_all(["msp", "picky"], classifier, None)
    # Where all refuse, there is nothing to evaluate.
    alone = Registry("detector")
    alone.register("picky")(Picky)
    monkeypatch.setattr(registry, "DETECTORS", alone)
    with pytest.raises(ValueError, match="must know birds"):
        registry.build_all(None, classifier, None)


@pytest.mark.parametrize("value", [1 / 3, math.nan, "none", None])
def test_a_figure_that_fails_costs_that_figure_and_not_the_evaluation(monkeypatch, value):
    monkeypatch.setitem(
        FIGURES, "odd", replace(FIGURES["auroc"], name="odd", function=lambda *scores: value)
    )
    x = np.random.default_rng(0).normal(size=(30, *networks.dense().input_shape[1:]))
    detectors = {"msp": MSPDetector(networks.dense(), input_range=(-9, 9))}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = evaluate(detectors, x[:15], {"x": x[15:]}, resamples=2, verbose=0)
    told = any("The figure 'odd' is left out: " in str(one.message) for one in caught)
    assert told == (value != 1 / 3) == ("odd" not in found.rows[0])
    assert 0 <= found.rows[0]["auroc"] <= 1
    assert "AUROC" in str(found.table())


@pytest.mark.parametrize(
    ("kind", "registry"),
    [
        *(("sources", SOURCES), ("detectors", DETECTORS), ("networks", NETWORKS)),
        *(("losses", LOSSES), ("figures", FIGURES), ("formats", FORMATS)),
    ],
)
def test_help_texts_read_in_the_code_what_is_registered_when_it_runs(kind, registry):
    own = {name: registry.description(name) for name in registry}
    found = help_texts.registered(kind)
    assert list(found) == list(own)
    if kind != "figures":  # whose descriptions no help text shows
        assert found == own
