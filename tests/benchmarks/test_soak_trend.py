"""The soak finds what grows, and does not find what only swings."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.soak_figures import FIGURES, verdicts
from benchmarks.trend import trend

HOURS = np.linspace(2, 8, 18)


def test_noise_is_hardly_ever_taken_for_growth() -> None:
    rng = np.random.default_rng(0)
    kinds = [rng.normal, lambda size: rng.standard_t(2, size), lambda size: rng.integers(0, 2, size)]
    wrong = [trend(HOURS, kinds[row % 3](size=18)).verdict != "flat" for row in range(1500)]
    assert np.mean(wrong) < 0.02     # 1 % is what an interval of 99 % promises


def test_the_interval_holds_the_true_slope_and_growth_larger_than_the_noise_is_found() -> None:
    rng = np.random.default_rng(1)
    found = [trend(HOURS, 0.5 * HOURS + rng.normal(size=18)) for _ in range(500)]
    assert np.mean([row.low <= 0.5 <= row.high for row in found]) > 0.97
    steep = [trend(HOURS, HOURS + rng.normal(size=18)) for _ in range(500)]
    assert np.mean([row.verdict == "grows" for row in steep]) > 0.99
    assert trend(HOURS, -HOURS).verdict == "shrinks"


def test_a_figure_that_never_moves_is_flat_and_one_more_with_every_cycle_is_not() -> None:
    assert trend(HOURS, [7.0] * 18) == trend(HOURS, [0.0] * 18)
    assert trend(HOURS, [7.0] * 18).verdict == "flat"
    assert trend(HOURS, np.arange(18.0)).low > 0


def test_too_few_points_are_no_answer() -> None:
    with pytest.raises(ValueError, match="8 points or more, each with a time, found 3"):
        trend([1, 2, 3], [1, 2, 3])


@pytest.mark.parametrize("leaking", [None, *FIGURES])
def test_of_a_soaks_samples_what_leaks_is_named_and_nothing_else(leaking: str | None) -> None:
    rng = np.random.default_rng(2)
    samples = []
    for second in range(960):
        in_cycle = second % 40
        sample = {
            "simulated_s": second * 30.0, "rss_mib": 150 + 8 * min(second / 120, 1) + rng.normal(0, 0.3),
            "files": 8 + (in_cycle > 12), "threads": 6, "spool_kib": 300 + rng.integers(0, 3) * 40,
            "waiting": max(0, 60 - abs(in_cycle - 14) * 5) + rng.integers(0, 3), "lag_s": rng.gamma(2, 0.002),
            "python_mib": 11 + rng.normal(0, 0.3), "blocks": 205_000 + rng.normal(0, 50)}
        if leaking:
            each = {"lag_s": 1e-5, "spool_kib": 0.3, "rss_mib": 2e-3, "python_mib": 2e-3, "blocks": 1.0}
            sample[leaking] += each.get(leaking, 1 / 40) * second
        samples.append(sample)
    found = verdicts(samples, 24)
    assert {name for name, row in found.items() if row["verdict"] != "flat"} == ({leaking} if leaking else set())


def test_what_python_holds_is_judged_in_a_run_that_traces_it_only() -> None:
    samples = [{"simulated_s": 30.0 * second, **dict.fromkeys(FIGURES, 1.0)} for second in range(960)]
    assert list(verdicts(samples, 24)) == list(FIGURES)
    untraced = [{name: value for name, value in sample.items() if name != "python_mib"} for sample in samples]
    assert "python_mib" not in verdicts(untraced, 24)
