from __future__ import annotations

import pytest

from tests.bench.stats import median, paired_ratios, percentile, spread


def test_percentile_is_a_value_that_was_measured() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert percentile(values, 99) == 99.0
    assert percentile(values, 50) == 50.0
    assert percentile(values, 100) == 100.0
    assert percentile([7.0], 99) == 7.0
    assert percentile([1.0, 2.0], 1) == 1.0


def test_percentile_does_not_skip_a_rank_for_a_float_that_is_not_exact() -> None:
    assert percentile([float(n) for n in range(1, 101)], 7) == 7.0
    assert percentile([float(n) for n in range(1, 1001)], 99.9) == 999.0


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_percentile_refuses_what_has_no_answer(values: list[float], percent: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, percent)


def test_median_ignores_rounds_that_were_not_measured() -> None:
    assert median([3.0, None, 1.0, 2.0]) == 2.0
    assert median([1.0, 2.0]) == 1.5
    assert median([None, None]) is None
    assert median([]) is None


def test_ratios_pair_the_rounds_before_the_median_is_taken() -> None:
    # A machine that halves its speed in round two leaves the ratio alone.
    assert paired_ratios([100.0, 50.0], [50.0, 25.0]) == [2.0, 2.0]
    assert paired_ratios([1.0, None, 3.0, 4.0], [2.0, 2.0, None, 0.0]) == [0.5, None, None, None]
    assert paired_ratios([], [1.0]) == []


def test_spread() -> None:
    assert spread([2.0, None, 1.0]) == (1.0, 2.0)
    assert spread([None]) is None
