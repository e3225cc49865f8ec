import numpy as np
import pytest
from scipy import stats

from medwb.seeds import Seeds, mean_difference, mean_score, moderated, seed_components, seed_variance

NAN = float("nan")


def replicated(scores: list[float], spread: float, own: float = 0.0, draws: int = 4000, seed: int = 0) -> np.ndarray:
    """Runs' scores with normal replicates: `spread` moves all runs alike, `own` each for itself."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, spread, draws) + rng.normal(0, 1, (len(scores), draws)) * own
    values = np.array(scores)[:, None]
    return np.hstack([values, values + moves])


def test_one_seed_has_the_interval_of_the_bootstrap() -> None:
    value, low, high = mean_score(replicated([0.5], 0.02), 10_000)
    assert value == 0.5
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.02, 0.5 + 1.96 * 0.02), abs=1e-3)
    few = mean_score(replicated([0.5], 0.02), 6)
    assert (few[2] - few[1]) / (high - low) == pytest.approx(stats.t.ppf(0.975, 5) / 1.96, abs=0.03)


def test_an_interval_keeps_within_bounds_and_leans_inwards() -> None:
    value, low, high = mean_score(np.clip(replicated([0.97], 0.02), 0, 1), 500)
    assert low < value < high <= 1
    assert value - low > high - value
    value, low, high = mean_score(replicated([-0.2], 0.1), 500, bounds=(-1, 1))
    assert -0.45 < low < value < high < 0.05
    assert np.allclose(mean_score(np.ones((3, 50)), 500), 1)


def test_seeds_enter_with_the_degrees_of_freedom_that_they_have() -> None:
    """Where samples add nothing, the interval is Student's of the seeds' scores."""
    scores = [0.50, 0.52, 0.57]
    _, low, high = mean_score(replicated(scores, 1e-6), 5000)
    half = stats.t.ppf(0.975, 2) * np.std(scores, ddof=1) / np.sqrt(3)
    assert (high - low) / 2 == pytest.approx(half, rel=0.02)


def test_runs_that_err_on_different_samples_are_no_scatter_of_seeds() -> None:
    rng = np.random.default_rng(1)
    scores = replicated(list(rng.normal(0.5, 0.02, 40)), 0.0, own=0.02)
    observed, within = seed_variance(scores)
    assert within == pytest.approx(0.02**2, rel=0.05)
    assert observed == pytest.approx(0.02**2, rel=0.5)


def test_undefined_scores_stay_undefined_and_warn_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    scores = np.stack([replicated([0.5, 0.6, 0.7], 0.02), np.full((3, 4001), NAN)], axis=-1)
    scores[:, 5, 0] = NAN
    value, low, high = mean_score(scores, 100)
    assert low[0] < value[0] < high[0]
    assert np.isnan([value[1], low[1], high[1]]).all()
    empty = Seeds(0, 0, 0)
    assert np.isnan(mean_difference(scores[0, :, 1], scores[1, :, 1], 100, (empty, empty), 0)).all()
    assert not recwarn


def test_rows_learn_from_one_another_how_much_seeds_scatter() -> None:
    rng = np.random.default_rng(2)
    rows = [replicated(list(rng.normal(0.5, 0.03, 3)), 0.005, seed=number) for number in range(8)]
    rows += [replicated([0.5], 0.005), replicated([0.5], 0.005)]
    seeds, pooled = seed_components(rows, [False] * 9 + [True])
    assert pooled == 16
    assert all(one.added > 0.2 * 0.03**2 / 3 for one in seeds[:8])
    assert seeds[8].added == pytest.approx(0.03**2, rel=0.7)  # one seed: what the others scatter
    assert seeds[9] == Seeds(0, 0, 0)  # nothing to scatter
    alone, pooled = seed_components(rows[8:], [False, True])
    assert (alone, pooled) == ([Seeds(0, 0, 0)] * 2, 0)


def test_a_variance_is_drawn_up_and_never_down() -> None:
    variance = np.array([1.0, 1.1, 0.9, 1.05, 0.02, 60.0])
    drawn, degrees, common, prior = moderated(variance, np.full(6, 2.0))
    assert (drawn >= variance).all()
    assert drawn[4] > 0.02
    assert drawn[5] == 60
    assert degrees[5] == 2
    assert degrees[4] == pytest.approx(2 + prior)
    assert common > 0
    alike = moderated(np.full(6, 0.3), np.full(6, 2.0))
    assert alike[2:] == pytest.approx((0.3, 12))
    assert moderated(np.array([0.3]), np.array([2.0]))[3] == 0
    assert moderated(np.zeros(3), np.full(3, 2.0))[3] == 0


def test_a_difference_is_student_s_and_agrees_with_its_p() -> None:
    a, b = replicated([0.55], 0.02)[0], replicated([0.50], 0.015, seed=1)[0]
    none = Seeds(0, 0, 0)
    found = mean_difference(a, b, 31, (none, none), 0)
    error = np.std((a - b)[1:])
    assert found.value == pytest.approx(0.05)
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, 30) * error)
    assert found.p == pytest.approx(2 * stats.t.sf(0.05 / error, 30))
    assert found.seed_share == 0
    seeds = Seeds(0.0004, 0.0004, 2)
    wider = mean_difference(a, b, 31, (seeds, none), 2)
    assert wider.high > found.high
    assert wider.p > found.p
    assert wider.seed_share == pytest.approx(0.0004 / (0.0004 + error**2))
    assert mean_difference(a, a, 31, (none, none), 0)[:4] == (0, 0, 0, 1)
