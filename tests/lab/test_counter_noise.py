"""The counted noise: normal, uncorrelated, and the same in a browser."""

import numpy as np
import pytest
from scipy import stats

from dlopt.engine.faces.javascript import RUNTIME, Translator
from dlopt.lab.counter_noise import LARGEST_SEED, counter_noise, uniform

SEEDS = [0, 1, 2, 100, 12345, LARGEST_SEED]
N = 20_000
LIMIT = 4.5  # standard errors; with the 200 comparisons below one in a thousand such tests would fail by chance


def drawn(seed, n=N):
    return np.stack(counter_noise(np.arange(1.0, n + 1), seed=float(seed)))


def correlation(a, b):
    return abs(np.corrcoef(a, b)[0, 1]) * np.sqrt(len(a))


@pytest.mark.parametrize("seed", SEEDS)
def test_mean_variance_and_distribution(seed):
    for axis in drawn(seed):
        assert abs(axis.mean()) * np.sqrt(N) < LIMIT
        assert abs(axis.var() - 1) * np.sqrt(N / 2) < LIMIT
        assert stats.kstest(axis, "norm").pvalue > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_no_correlation_along_steps_or_between_axes(seed):
    x, y = drawn(seed)
    assert correlation(x, y) < LIMIT
    for lag in (1, 2, 3, 10):
        for a, b in ((x, x), (y, y), (x, y), (y, x)):
            assert correlation(a[:-lag], b[lag:]) < LIMIT
            assert correlation(a[:-lag] ** 2, b[lag:] ** 2) < LIMIT


def test_no_correlation_between_seeds():
    first = [drawn(seed).ravel() for seed in range(8)]
    for i, a in enumerate(first):
        for b in first[:i]:
            assert correlation(a, b) < LIMIT


def test_over_seeds_one_step_is_normal_as_well():
    for t in (1.0, 2.0, 500.0):
        x, y = counter_noise(np.full(N, t), seed=np.arange(float(N)))
        assert stats.kstest(x, "norm").pvalue > 1e-4
        assert stats.kstest(y, "norm").pvalue > 1e-4
        assert correlation(x[1:], x[:-1]) < LIMIT


def test_pairs_fill_the_square_evenly():
    u = uniform(np.arange(200_000.0), 5.0)
    counts, _, _ = np.histogram2d(u[:-1], u[1:], bins=32)
    assert stats.chisquare(counts.ravel()).pvalue > 1e-4


def test_a_browser_draws_the_same():
    racer = pytest.importorskip("py_mini_racer", reason="mini-racer runs the translated code")
    translator, context = Translator(), racer.MiniRacer()
    name = translator.function(counter_noise)
    context.eval(RUNTIME)
    found = context.eval(f"""globalThis.kept = (() => {{ {translator.source()}
        const out = new Float64Array(12000);
        [0, 7, {LARGEST_SEED}].forEach((seed, s) => {{
          for (let t = 1; t <= 2000; t++) out.set({name}(t, {{seed}}), 4000 * s + 2 * t - 2);
        }});
        return out.buffer; }})()""")
    got = np.frombuffer(found, np.float64).reshape(3, 2000, 2)
    expected = np.stack([drawn(seed, 2000).T for seed in (0, 7, LARGEST_SEED)])
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
