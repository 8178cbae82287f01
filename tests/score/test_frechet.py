from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from dispose_stages.score import frechet
from dispose_stages.score.frechet import FeatureMoments, frechet_distance


def sample(count, dimension, seed, scale=1.0):
    """Correlated features off the origin."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((dimension, dimension)) / np.sqrt(dimension)
    return scale * rng.standard_normal((count, dimension)) @ mixing + rng.standard_normal(dimension)


def distance(a, b):
    return frechet_distance(FeatureMoments.of(a), FeatureMoments.of(b))


def by_square_root(a, b):
    """The definition, with SciPy's root of a matrix."""
    covariances = [np.cov(x, rowvar=False) for x in (a, b)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    apart = a.mean(axis=0) - b.mean(axis=0)
    return apart @ apart + sum(np.trace(c) for c in covariances) - 2 * np.trace(root)


@pytest.mark.parametrize(("n", "m", "d"), [(200, 150, 16), (400, 900, 64), (600, 700, 250)])
def test_equal_to_the_matrix_root(n, m, d):
    """Within 1e-6, whatever the sizes."""
    a, b = sample(n, d, 1), sample(m, d, 2, scale=1.5)
    assert distance(a, b) == pytest.approx(by_square_root(a, b), rel=1e-6)


def commuting(variances, count, seed, mean):
    """A sample whose covariance is exactly diagonal."""
    rng = np.random.default_rng(seed)
    raw = rng.standard_normal((count, len(variances)))
    raw -= raw.mean(axis=0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
    return white * np.sqrt(variances) + mean


def test_dead_features():
    """Constant and repeated features make both covariances singular; the value is exact."""
    rng = np.random.default_rng(0)
    v, w = rng.uniform(0.5, 2, 40), rng.uniform(0.5, 2, 40)
    v[:10], w[5:15] = 0, 0
    a, b = commuting(np.maximum(v, 0), 300, 1, 0.0), commuting(w, 200, 2, 0.3)
    exact = 40 * 0.09 + ((np.sqrt(v) - np.sqrt(w)) ** 2).sum()
    assert distance(a, b) == pytest.approx(exact, rel=1e-9)
    turn = np.linalg.qr(rng.standard_normal((80, 80)))[0]
    doubled = [np.concatenate([x, x], axis=1) @ turn for x in (a, b)]
    assert distance(*doubled) == pytest.approx(2 * exact, rel=1e-6)


def test_samples_smaller_than_the_dimension():
    """Equal to the root of one Gram matrix, and nothing for a sample against itself."""
    a, b = sample(12, 64, 1), sample(9, 64, 2)
    roots = [(x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (a, b)]
    overlap = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    apart = a.mean(axis=0) - b.mean(axis=0)
    wanted = apart @ apart + sum((r**2).sum() for r in roots) - 2 * overlap
    assert distance(a, b) == pytest.approx(wanted, rel=1e-7)
    assert distance(a, a) == pytest.approx(0, abs=1e-6)


def test_blocks_give_the_whole(monkeypatch):
    """However the features come, and whatever their offset."""
    monkeypatch.setattr(frechet, "BLOCK_ROWS", 50)
    a, b = sample(333, 20, 1) + 1000, sample(90, 20, 2) + 1000
    pieces = np.array_split(a, [1, 7, 180, 181])
    moments = FeatureMoments.of_blocks(pieces)
    assert moments.count == 333
    whole = frechet_distance(moments, FeatureMoments.of(b))
    assert whole == pytest.approx(by_square_root(a, b), rel=1e-6)


def test_unusable_features_are_refused():
    """None, one, not finite, or of different lengths."""
    good = FeatureMoments.of(sample(10, 4, 0))
    with pytest.raises(ValueError, match="needs features"):
        FeatureMoments.of_blocks([])
    with pytest.raises(ValueError, match="two features, not 1"):
        frechet_distance(good, FeatureMoments.of(sample(1, 4, 1)))
    with pytest.raises(ValueError, match="do not compare"):
        frechet_distance(good, FeatureMoments.of(sample(10, 5, 1)))
    with pytest.raises(ValueError, match="not finite"):
        FeatureMoments.of(np.full((3, 4), np.nan))
