"""The files that benchmarks keep their rows in."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from csv_rows import read_csv, write_csv


def test_rows_come_back_as_text_with_every_column_in_the_order_of_its_coming(tmp_path):
    path = tmp_path / "not" / "there" / "rows.csv"
    write_csv(path, [{"a": 1, "b": "x, y"}, {"a": 0.5, "c": None}])
    assert path.read_bytes() == b'a,b,c\n1,"x, y",\n0.5,,\n'
    assert read_csv(path) == [{"a": "1", "b": "x, y", "c": ""}, {"a": "0.5", "b": "", "c": ""}]


def test_a_file_of_columns_that_are_given_says_them_without_rows(tmp_path):
    write_csv(tmp_path / "rows.csv", iter([]), ("b", "a"))
    assert (tmp_path / "rows.csv").read_text() == "b,a\n"
    assert read_csv(tmp_path / "rows.csv") == []


def test_no_file_has_no_rows(tmp_path):
    assert read_csv(tmp_path / "rows.csv") == []
