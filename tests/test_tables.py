"""A table built in parts is the one built at once."""

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from preprocess import tables
from preprocess.tables import build_table

TYPES = {"name": "string", "count": "Int64", "size": "float64", "done": "bool", "maybe": "boolean"}


@pytest.mark.parametrize("rows", [0, 1, 4, 5, 11])
def test_parts_make_the_whole(monkeypatch, rows):
    given = [
        {"name": None if n % 3 else f"n{n}", "count": n if n > 6 else None, "size": n / 2, "done": n > 2, "maybe": None}
        for n in range(rows)
    ]
    whole = pd.DataFrame(given, columns=list(TYPES)).astype(TYPES)
    monkeypatch.setattr(tables, "_ROWS_AT_ONCE", 4)
    found = build_table(iter(given), TYPES)
    assert_frame_equal(found, whole)
    assert list(found.dtypes) == [pd.api.types.pandas_dtype(kind) for kind in TYPES.values()]


def test_missing_columns_are_empty_and_others_left_out():
    found = build_table([{"count": 1, "size": 2.0, "done": True, "more": 3}], TYPES)
    assert list(found.columns) == list(TYPES)
    assert found["name"].isna().all()
    assert found["maybe"].isna().all()
