"""The options of the Gradient Quotient: the fields of `QuotientSettings`, as its code says.

Names, types, defaults and words are read without running it, which would import Keras.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

import click

from keras_lodin_cli.options import options
from keras_lodin_cli.registered import place_of

_TYPES = {"str": str, "int": int, "float": float}


def quotient_options(*names: str) -> Callable[..., Any]:
    """An option for each of these fields, in this order; without names, for all of them."""
    found = _fields()
    return options(*(found[name] for name in names or found))


def _fields() -> dict[str, Callable[..., Any]]:
    code = place_of("keras_lodin.quotient.settings").with_suffix(".py").read_text(encoding="utf-8")
    (settings,) = (
        node
        for node in ast.parse(code).body
        if isinstance(node, ast.ClassDef) and node.name == "QuotientSettings"
    )
    words = dict(re.findall(r"^    (\w+): (.+)$", ast.get_docstring(settings) or "", re.MULTILINE))
    found = {}
    for field in settings.body:
        if isinstance(field, ast.AnnAssign) and field.value is not None:
            name, default = ast.unparse(field.target), ast.literal_eval(field.value)
            found[name] = click.option(
                f"--{name.replace('_', '-')}",
                type=_TYPES[ast.unparse(field.annotation).split()[0]],
                default=default,
                show_default=default is not None,
                help=words[name][0].upper() + words[name][1:],
            )
    return found
