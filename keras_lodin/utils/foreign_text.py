"""Names that others chose (files, classes, data sets), made fit for where they are shown.

A name is text and nothing else: no colour of a terminal, no formula of a spreadsheet. What Python
holds of a file name stays as it is; only what is written or printed is changed.
"""

from __future__ import annotations

import csv
import io
import math
import unicodedata
from collections.abc import Iterable
from typing import Any

# What a spreadsheet takes for the beginning of a formula, with the full-width forms of it.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001
# Joiners, which scripts and emoji are written with.
_JOINERS = "\u200c\u200d"


def shown(text: str, keep: str = "") -> str:
    r"""Text for a terminal or a page, without characters that command it.

    Control characters, marks that turn the direction of writing, line breaks and bytes that are
    not UTF-8 are written as Python writes them, such as `\x1b` and `\u202e`. Letters of all
    scripts stay.

    Args:
        text: any text, `surrogateescape`d file names included.
        keep: control characters that the place can hold, such as line breaks.

    Example:
    ```python
    shown("\x1b[2J.png")  # '\\x1b[2J.png'
    ```
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable()
        or character in keep
        or character in _JOINERS
        or unicodedata.category(character) == "Zs"
        else _escaped(character)
        for character in text
    )


def encodable(value: Any) -> Any:
    r"""Text that UTF-8 can hold: bytes of a file name that are none are written `\xe9`.

    Everything else stays, control characters too: this is for files that programs read.

    Args:
        value: text, or dictionaries, lists and tuples with text anywhere in them.
    """
    if isinstance(value, str):
        return "".join(_escaped(c) if "\ud800" <= c <= "\udfff" else c for c in value)
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encodable(item) for item in value]
    return value


def csv_cell(value: object) -> object:
    """A cell of a CSV file that a spreadsheet shows and does not run.

    Text whose first character (after spaces) is one of `= + - @`, tab or a line break gets an
    apostrophe before it, as OWASP recommends. Numbers stay numbers. Text that UTF-8 cannot hold is
    made to fit, see `encodable`.
    """
    if not isinstance(value, str):
        return value
    text = encodable(value)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def csv_text(columns: Iterable[object], rows: Iterable[Iterable[object]], end: str = "\r\n") -> str:
    """Rows of cells as CSV, the names of the columns first.

    `csv_cell` makes those cells fit that others chose.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows([columns, *rows])
    return text.getvalue()


def json_value(value: Any) -> Any:
    """What strict JSON can hold: numbers that are none (NaN, the infinities) become None.

    Args:
        value: a number or other scalar, or dictionaries, lists and tuples with them in.
    """
    if isinstance(value, dict):
        return {key: json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # A byte that `surrogateescape` kept.
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
