"""The one spelling of the quotient's options, wherever they are taken."""

import inspect
from dataclasses import fields
from typing import get_type_hints

import click
import pytest

import keras_lodin
from keras_lodin.quotient.settings import OPTIONS, QuotientOptions, QuotientSettings
from keras_lodin.workflows import gradients, train
from keras_lodin_cli.quotient_options import quotient_options

DEFAULTS = {field.name: field.default for field in fields(QuotientSettings)}


def test_options_are_the_settings_as_keyword_arguments():
    assert get_type_hints(QuotientOptions) == get_type_hints(QuotientSettings)
    assert OPTIONS.keys() == DEFAULTS.keys()
    assert (OPTIONS["norm"], OPTIONS["chunk_size"], OPTIONS["temperature"]) == (str, int, float)


@pytest.mark.parametrize(
    "function",
    [
        keras_lodin.GQModel,
        keras_lodin.gradient_quotient,
        keras_lodin.gradient_distributions,
        keras_lodin.Candidate,
        train,
        gradients,
    ],
)
def test_whoever_takes_options_shows_them_with_the_same_defaults(function):
    parameters = inspect.signature(function).parameters
    shown = {name: parameters[name].default for name in DEFAULTS}
    assert shown == DEFAULTS


def test_the_command_line_has_them_without_importing_the_class():
    command = click.command()(quotient_options()(lambda **_: None))
    assert {option.name: option.default for option in command.params} == DEFAULTS
    assert {option.name: option.type.name for option in command.params} == {
        name: {str: "text", int: "integer", float: "float"}[kind] for name, kind in OPTIONS.items()
    }
    assert all(option.help for option in command.params)
    some = click.command()(quotient_options("norm", "form")(lambda **_: None))
    assert [option.name for option in some.params] == ["norm", "form"]


def test_settings_are_found_among_others_and_told_as_files_have_them():
    settings = QuotientSettings.of({"form": "logits", "temperature": 1, "epochs": 3})
    assert settings == QuotientSettings("logits")
    assert isinstance(settings.temperature, float)
    assert settings.changed == {"form": "logits"}
    told = settings.to_dict()
    assert told == {name: value for name, value in DEFAULTS.items() if value is not None} | {
        "form": "logits"
    }
    assert QuotientSettings(norm="l2", chunk_size=3).to_dict().keys() == DEFAULTS.keys()


def test_what_cannot_be_chosen_is_refused_only_where_it_was():
    QuotientSettings(every=1).refuse("every")
    with pytest.raises(ValueError, match=r"`every` and `temperature` cannot.*Received: every=2"):
        QuotientSettings(every=2, temperature=5.0).refuse("every", "temperature", "norm")


@pytest.mark.parametrize("options", [{"every": 2}, {"temperature": 10.0}])
def test_distributions_have_no_settings_of_a_training(options):
    with pytest.raises(ValueError, match="cannot be chosen here"):
        keras_lodin.gradient_distributions(None, None, **options)


def test_an_option_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(TypeError, match="unexpected keyword argument 'fom'"):
        train("digits:0-6", "small_convnet", tmp_path / "run", gq_weight=1.0, fom="logits")
