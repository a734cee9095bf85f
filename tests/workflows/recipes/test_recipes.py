"""The poster's rows and their scales, as data."""

import dataclasses
import inspect

import pytest

from keras_lodin import models
from keras_lodin.data.sources.folder import Folder
from keras_lodin.data.specification import parse
from keras_lodin.detectors import DETECTORS
from keras_lodin.workflows import train
from keras_lodin.workflows.recipes import RECIPES, SCALES
from keras_lodin.workflows.recipes.recipe import PRETRAINED, Training


def test_the_posters_rows_are_all_there():
    rows = {recipe.name for recipe in RECIPES.values() if recipe.published is not None}
    assert rows == {
        *(f"{detector}-wrn" for detector in ("msp", "odin", "mahalanobis", "energy")),
        *(f"{detector}-msdnet" for detector in ("msp", "odin", "mahalanobis", "energy")),
        "mood",
        *(f"odin-{gq}{net}" for gq in ("", "gq-") for net in ("madry", "resnet18", "resnet34")),
    }
    for name in rows:
        assert RECIPES[f"{name}-cifar100"].training == RECIPES[name].training


@pytest.mark.parametrize("name", RECIPES)
def test_a_row_names_networks_and_detectors_that_exist(name):
    recipe = RECIPES[name]
    assert recipe.detector in DETECTORS
    for scale in SCALES.values():
        network = scale.networks.get(recipe.network, recipe.network)
        assert network == PRETRAINED or network in models.names()
    assert any(recipe.id in scale.data for scale in SCALES.values())
    assert recipe.id in SCALES["full"].data
    assert recipe.id in SCALES["small"].data


def test_rows_with_gq_have_the_published_weight_and_form():
    trained = [recipe for recipe in RECIPES.values() if recipe.name.startswith("odin-gq-")]
    poster = [recipe.training for recipe in trained if recipe.network != PRETRAINED]
    assert {(training.gq_weight, training.form) for training in poster} == {(1e-6, "pooled")}
    assert {training.estimator for training in poster} == {"exact"}


def test_the_published_recipe_is_the_default():
    assert Training() == Training(
        epochs=200, batch_size=64, learning_rate=0.1, weight_decay=5e-4, augment="crop-flip"
    )


def test_settings_of_a_training_are_those_of_train():
    known = set(inspect.signature(train).parameters)
    assert {field.name for field in dataclasses.fields(Training)} <= known
    for scale in SCALES.values():
        for changes in scale.training.values():
            dataclasses.replace(Training(), **changes)


@pytest.mark.parametrize("name", SCALES)
def test_every_specification_of_a_scale_is_in_the_language(name):
    for task in SCALES[name].data.values():
        sources = [task.train, task.test, *([task.validation] if task.validation else [])]
        sources += [ood.specification for ood in task.ood]
        named = [parse(source.replace("{data}", "folder")) for source in sources]
        assert len(set(sources)) >= len(sources) - 1  # parts of one source share its name
        for ood, found in zip(task.ood, named[-len(task.ood) :], strict=True):
            # What cannot be downloaded by name says in words what to download.
            assert isinstance(found, Folder) == bool(ood.download)
