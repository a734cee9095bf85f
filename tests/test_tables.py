"""The tables of README and docs are those of the committed results."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import tables  # noqa: E402


@pytest.mark.parametrize("page", tables.PAGES)
def test_tables_are_those_of_the_results(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert tables.filled(text) == text


def test_a_number_changed_by_hand_shows():
    text = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    place = text.index("<!-- table: docs/results/estimators.csv -->")
    changed = text[:place] + re.sub(r"\| 0\.9", "| 0.8", text[place:], count=1)
    assert tables.filled(changed) == text != changed


def test_an_empty_place_is_filled_and_what_stands_behind_it_stays():
    place = "<!-- table: docs/results/start_up.csv -->\n"
    table = tables.filled(place + "\nA paragraph.\n")
    assert table.startswith(place + "| what |")
    assert table.endswith(" |\n\nA paragraph.\n")
    assert tables.filled(table) == table


def test_every_table_has_its_place_and_every_place_its_file():
    named = {
        file
        for page in tables.PAGES
        for file in re.findall(r"<!-- table: (\S+) -->", (ROOT / page).read_text(encoding="utf-8"))
    }
    assert set(tables.TABLES) <= named
    for file in named:
        assert list(ROOT.glob(file.split("#")[0])), file
