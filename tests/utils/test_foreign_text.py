"""Names are text: no terminal, spreadsheet or encoding obeys or refuses them."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_lodin.utils.foreign_text import csv_cell, encodable, json_value, shown

ANY_TEXT = st.text(alphabet=st.characters(), max_size=40)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[2J\x1b[31mx.png", r"\x1b[2J\x1b[31mx.png"),
        ("\x1b]0;OWNED\x07.png", r"\x1b]0;OWNED\x07.png"),
        ("\x9b2J", r"\x9b2J"),
        ("invoice\u202egnp.exe", r"invoice\u202egnp.exe"),
        ("a\u2066b\u2069", r"a\u2066b\u2069"),
        ("two\nlines\r", r"two\nlines\r"),
        ("line\u2028separator", r"line\u2028separator"),
        ("caf\udce9.png", r"caf\xe9.png"),
        ("\ud800", r"\ud800"),
        ("\ufeffmark", r"\ufeffmark"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("bell\x07\x00\x7f", r"bell\x07\x00\x7f"),
    ],
)
def test_characters_that_command_are_shown_escaped(text, expected):
    assert shown(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("img[red].png", "[/b]", "$x$", "絵", "gemälde", "שלום", "ﷺ", "a\u3000b\xa0c", "🙂"),
        *("👩\u200d🔬", "क्\u200cष", "e\u0301", "<b>&", 'a"b,c', "C:\\x1b", ""),
    ],
)
def test_what_is_only_text_stays(text):
    assert shown(text) == text
    assert encodable(text) == text


@given(ANY_TEXT)
def test_shown_text_can_be_printed_everywhere_and_holds_no_control(text):
    found = shown(text)
    found.encode("utf-8")
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in found)
    assert not set(found) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert shown(found) == found


def test_line_breaks_are_kept_where_they_are_asked_for():
    assert shown("a\nb\x1b", keep="\n") == "a\nb\\x1b"


@pytest.mark.parametrize(
    "text",
    [
        *(
            '=HYPERLINK("http:evil")',
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            "  =1",
            "\uff1d1",
        ),
        *("-img.png", "=", "+\udcff"),
    ],
)
def test_formulas_become_text(text):
    assert csv_cell(text).startswith("'")
    assert csv_cell(text)[1:] == encodable(text)


@pytest.mark.parametrize("value", [-1.5, 0, -3, True, None, float("-inf"), "a=b", "1-2", "", "'x"])
def test_numbers_and_plain_text_stay(value):
    assert csv_cell(value) is value or csv_cell(value) == value


@given(st.lists(ANY_TEXT, min_size=1))
def test_cells_come_back_from_csv_whole(texts):
    file = io.StringIO(newline="")
    csv.writer(file).writerow(map(csv_cell, texts))
    (row,) = csv.reader(io.StringIO(file.getvalue().encode("utf-8").decode("utf-8"), newline=""))
    assert row == [csv_cell(text) for text in texts]
    assert not any(cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
        lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
        max_leaves=8,
    )
)
def test_every_document_becomes_strict_json(document):
    text = json.dumps(json_value(encodable(document)), ensure_ascii=False, allow_nan=False)
    json.loads(text.encode("utf-8"))


def test_numbers_that_are_none_are_null_and_others_stay():
    document = {"a": [float("nan"), float("inf"), -1.5], "b": (1, True, None, "NaN")}
    assert json_value(document) == {"a": [None, None, -1.5], "b": [1, True, None, "NaN"]}
