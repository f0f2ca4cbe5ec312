import math

import pandas as pd
import pytest

from ctvlp.reader_quality import label_agreement


def table(**columns: list) -> pd.DataFrame:
    return pd.DataFrame(columns, index=[f"s{i}" for i in range(len(next(iter(columns.values()))))]).astype("Int8")


def test_counts_against_a_table_made_by_hand():
    labels = table(a=[1, 1, 0, None, -1, None], b=[None, None, 1, 0, 0, 1])
    truth = table(a=[1, 0, 1, 1, 1, 0], b=[0, 0, 1, 0, None, 1])
    overall, by_finding = label_agreement(labels, truth)
    assert by_finding["a"].precision == pytest.approx(1 / 2)
    assert by_finding["a"].recall == pytest.approx(1 / 3)
    assert by_finding["a"].f1 == pytest.approx(2 / 5)
    assert (by_finding["a"].pairs, by_finding["a"].uncertain) == (5, 1)
    assert by_finding["b"].f1 == 1.0
    assert by_finding["b"].pairs == 5
    assert overall.f1 == pytest.approx(2 * 3 / (4 + 5))


def test_only_studies_of_both_tables_are_compared():
    labels = table(a=[1, 1])
    truth = table(a=[1, 0, 1]).rename(index={"s0": "other"})
    assert label_agreement(labels, truth)[0].pairs == 1


def test_nothing_positive_gives_no_figure():
    overall, _ = label_agreement(table(a=[0, None]), table(a=[0, 0]))
    assert math.isnan(overall.f1)
    assert math.isnan(overall.precision)
