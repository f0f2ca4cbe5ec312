"""Tables from very many rows: typed a part at a time, for a row as a mapping takes many times the memory."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import pandas as pd

_ROWS_AT_ONCE = 20_000


def build_table(rows: Iterable[Mapping[str, Any]], types: Mapping[str, str]) -> pd.DataFrame:
    """The table of some rows, in their order.

    Args:
        rows: Column to value; what is missing is empty.
        types: Column to pandas type, in the order of the columns.
    """
    rest = iter(rows)
    parts = [pd.DataFrame([], columns=list(types)).astype(types)]
    while some := list(islice(rest, _ROWS_AT_ONCE)):
        parts.append(pd.DataFrame(some, columns=list(types)).astype(types))
    return pd.concat(parts[1:] or parts, ignore_index=True)
