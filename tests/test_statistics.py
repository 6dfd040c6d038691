"""Intervals and paired tests against closed forms and scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from talkingface.statistics import difference, interval


def test_the_interval_of_a_normal_sample_is_near_that_of_the_t_distribution():
    values = np.random.default_rng(0).normal(5, 2, 60)
    found = interval(values.tolist())
    low, high = stats.t.interval(0.95, 59, values.mean(), stats.sem(values))
    assert found.mean == pytest.approx(values.mean()) and found.clips == 60
    assert found.low == pytest.approx(low, abs=0.1) and found.high == pytest.approx(high, abs=0.1)


def test_nineteen_of_twenty_intervals_hold_the_true_mean():
    rng = np.random.default_rng(1)
    samples = [rng.exponential(1, 30) for _ in range(150)]
    inside = [found.low <= 1 <= found.high for found in map(interval, (sample.tolist() for sample in samples))]
    assert 0.88 <= np.mean(inside) <= 0.99


def test_it_is_the_same_each_time():
    values = [1.0, 4.0, 2.0, 8.0, 5.0]
    assert interval(values) == interval(values)


def test_of_one_value_nothing_is_claimed_and_equal_ones_have_no_width():
    assert math.isnan(interval([3.0]).low) and interval([3.0]).mean == 3
    assert interval([2.0] * 7)[:3] == (2, 2, 2)
    assert str(interval([3.0])) == "3" and str(interval([1.0, 1.0])) == "1 [1, 1]"


@pytest.mark.parametrize("count", [5, 8, 10])
def test_p_of_clips_that_all_agree_is_two_of_all_sign_patterns(count):
    first = np.arange(count) + 2.0
    found = difference(first.tolist(), [0.0] * count)
    assert found.p == pytest.approx(2 / 2**count) and found.wins == count and found.sign == 1


def test_p_equals_the_exact_test_of_fisher():
    rng = np.random.default_rng(3)
    values = rng.normal(0.3, 1, 9)
    signs = np.array(np.meshgrid(*[(-1, 1)] * 9)).reshape(9, -1)
    means = np.abs((signs * np.abs(values)[:, None]).mean(axis=0))
    expected = (means >= abs(values.mean()) - 1e-12).mean()
    assert difference(values.tolist(), [0.0] * 9).p == pytest.approx(expected, abs=1e-9)


def test_equal_runs_do_not_differ():
    found = difference([1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.p, found.wins, found.ties, found.sign) == (1.0, 0, 5, 0)


def test_too_few_clips_claim_nothing():
    assert difference([9.0, 9.5, 9.1], [1.0, 1.1, 1.2]).sign == 0


def test_noise_around_zero_seldom_claims_anything():
    rng = np.random.default_rng(5)
    claims = [difference(rng.normal(0, 1, 30).tolist(), [0.0] * 30).sign != 0 for _ in range(60)]
    assert sum(claims) <= 8
