"""Rows as Arrow columns: what pyarrow itself makes of them, without importing pandas for it."""

import datetime as dt
import subprocess
import sys

import pyarrow
import pytest

from abtest_lib.arrow_tables import table

ROWS = [
    {
        "metric": "conversion",
        "value": None,
        "day": dt.date(2026, 2, 2),
        "flag": True,
        "n": 3,
        "mean": 0.1,
        "none": None,
    },
    {"metric": "größe €", "value": "ios", "day": dt.date(1969, 12, 31), "flag": None, "n": -1, "mean": 7},
    {"metric": "", "value": "a" * 300, "day": None, "flag": False, "mean": None},
] * 11


def test_columns_are_those_that_pyarrow_makes():
    names = ("metric", "value", "day", "flag", "n", "mean", "none")
    expected = pyarrow.table({name: [row.get(name) for row in ROWS] for name in names})
    found = table(ROWS)
    found.validate(full=True)
    assert found.equals(expected)
    assert found.schema == expected.schema


def test_no_rows_have_no_columns():
    assert table([]).num_columns == 0


def test_column_of_several_kinds_is_refused():
    with pytest.raises(TypeError, match="day holds date, str; it must be all texts"):
        table([{"day": dt.date(2026, 2, 2)}, {"day": "2026-02-02"}])


def test_a_time_is_no_date():
    with pytest.raises(TypeError, match="day holds datetime"):
        table([{"day": dt.datetime(2026, 2, 2)}])


def test_pandas_is_not_imported():
    code = "import sys; from abtest_lib.arrow_tables import table; table([{'n': 1}]); sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603
