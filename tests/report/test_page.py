"""Pages: what goes in comes out, as HTML and as Markdown."""

import html
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from keras_lodin.report import page
from keras_lodin.report.page import Section
from keras_lodin.report.plot_style import as_png

SECTIONS = [
    Section(
        "Numbers",
        [
            page.text("Some words."),
            page.table(
                "What they are", ("name", "value"), [("first", "1"), ("second", "2")], [(1, 1)]
            ),
            page.verdict("Take the second."),
            page.code("keras-lodin --help"),
            page.definitions({"value": "a number"}),
        ],
    ),
    Section("Nothing", []),
]


def test_html_holds_every_word_and_marks_the_best_cell():
    text = html.unescape(page.page("Title", "Summary.", SECTIONS))
    for words in (
        "Title",
        "Summary.",
        "Some words.",
        "What they are",
        "Take the second.",
        "a number",
    ):
        assert words in text
    assert re.findall(r'<td class="best">(.*?)</td>', text) == ["2"]
    assert "Nothing" not in text


def test_markdown_holds_the_same_words():
    text = page.markdown("Title", "Summary.", SECTIONS)
    assert text.startswith("# Title\n\nSummary.\n\n## Numbers\n\nSome words.")
    assert "| name | value |\n| --- | --- |\n| first | 1 |\n| second | 2 |" in text
    assert "**Take the second.**" in text
    assert "```sh\nkeras-lodin --help\n```" in text
    assert "* value: a number" in text
    assert "Nothing" not in text


def test_images_are_inside_the_page_with_their_text(rng):
    drawing = Figure(figsize=(2, 1))
    drawing.subplots().plot([0, 1])
    pixels = rng.integers(0, 255, (300, 20, 1)).astype("uint8")
    blocks = [
        page.figure(as_png(drawing), "A rising line", "caption"),
        page.pictures("Some", [(pixels, "A grey picture", "label")]),
    ]
    text = page.page("Title", "", [Section("Images", blocks)])
    assert len(re.findall(r'src="data:image/png;base64,', text)) == 2
    assert re.findall(r'alt="(.*?)"', text) == ["A rising line", "A grey picture"]
    assert 'width="220" height="110"' in text
    assert not re.search(r'(src|href)="(?!data:|#)', text)


@pytest.mark.parametrize("shape", [(5, 5, 1), (5, 5, 3)])
def test_grey_and_coloured_pictures_are_shown(shape):
    (picture,) = page.pictures("Some", [(np.zeros(shape, "uint8"), "alt", "label")])["pictures"]
    assert picture["source"].startswith("data:image/png")
