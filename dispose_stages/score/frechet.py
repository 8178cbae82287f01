"""Fréchet distance of two samples of features, taken as Gaussians (Heusel et al., 2017).

``|m1 - m2|² + tr S1 + tr S2 - 2 tr (S1 S2)^½`` with unbiased covariances. With ``S = Rᵀ R`` the
eigenvalues of ``S1 S2`` are those of the symmetric ``M Mᵀ``, ``M = R1 R2ᵀ``: no root of a matrix
is taken, and a singular covariance (a small sample, a dead feature) is a short ``R``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

BLOCK_ROWS = 8192
"""Rows that are worked on at once; bounds memory."""
_PRECISION = np.finfo(np.float64).eps


@dataclass(frozen=True, slots=True)
class FeatureMoments:
    """Mean and scatter of a sample of features.

    Attributes:
        root: ``R`` with ``Rᵀ R`` the sum of products around the mean.
    """

    count: int
    mean: Float64[np.ndarray, "d"]
    root: Float64[np.ndarray, "r d"]

    @classmethod
    def of(cls, features: Float[np.ndarray, "n d"]) -> FeatureMoments:
        """Moments of one sample."""
        return cls.of_blocks([features])

    @classmethod
    def of_blocks(cls, blocks: Iterable[Float[np.ndarray, "n d"]]) -> FeatureMoments:
        """Moments of a sample that comes in pieces; memory does not grow with their number.

        Raises:
            ValueError: There is no feature, or one is not finite.
        """
        pieces = _regrouped(blocks)
        first = next(pieces, None)
        if first is None:
            raise ValueError("a Fréchet distance needs features")
        count, mean, centred = _centred(first)
        following = next(pieces, None)
        if following is None and count <= len(mean):
            return cls(count, mean, centred)
        scatter = centred.T @ centred
        while following is not None:
            more, other, centred = _centred(following)
            apart = other - mean
            scatter += centred.T @ centred
            scatter += np.outer(apart, apart) * (count * more / (count + more))
            mean, count = mean + apart * (more / (count + more)), count + more
            following = next(pieces, None)
        return cls(count, mean, _root(scatter))


def _regrouped(
    blocks: Iterable[Float[np.ndarray, "n d"]],
) -> Iterator[Float[np.ndarray, "m d"]]:
    """The same rows in blocks of at least `BLOCK_ROWS`, but for the last."""
    waiting: list[np.ndarray] = []
    rows = 0
    for block in blocks:
        for start in range(0, len(block), BLOCK_ROWS):
            waiting.append(block[start : start + BLOCK_ROWS])
            rows += len(waiting[-1])
            if rows >= BLOCK_ROWS:
                yield np.concatenate(waiting)
                waiting, rows = [], 0
    if waiting:
        yield np.concatenate(waiting)


def _centred(
    block: Float[np.ndarray, "n d"],
) -> tuple[int, Float64[np.ndarray, "d"], Float64[np.ndarray, "n d"]]:
    values = np.asarray(block, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("the features are not finite")
    mean = values.mean(axis=0)
    return len(values), mean, values - mean


def _root(scatter: Float64[np.ndarray, "d d"]) -> Float64[np.ndarray, "r d"]:
    """``R`` with ``Rᵀ R = scatter``: Cholesky's, or where that is singular one of fewer rows."""
    live = np.flatnonzero(np.diagonal(scatter) > 0)
    root = np.zeros((len(live), len(scatter)))
    part = scatter[np.ix_(live, live)]
    try:
        upper = np.linalg.cholesky(part, upper=True)
        pivots = np.diagonal(upper) ** 2
        if pivots.size == 0 or pivots.min() > len(part) * _PRECISION * pivots.max():
            root[:, live] = upper
            return root
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh(part)
    kept = values > len(part) * _PRECISION * values[-1]
    root = root[: int(kept.sum())]
    root[:, live] = np.sqrt(values[kept])[:, None] * vectors[:, kept].T
    return root


def frechet_distance(a: FeatureMoments, b: FeatureMoments) -> float:
    """Squared Fréchet distance.

    Raises:
        ValueError: A sample has fewer than two features (no covariance), or the features differ
            in length.
    """
    if min(a.count, b.count) < 2:
        raise ValueError(f"a covariance needs two features, not {min(a.count, b.count)}")
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"features of {len(a.mean)} and of {len(b.mean)} numbers do not compare")
    root_a, root_b = (m.root / np.sqrt(m.count - 1) for m in (a, b))
    if len(root_a) > len(root_b):
        root_a, root_b = root_b, root_a
    product = root_a @ root_b.T
    eigenvalues = np.linalg.eigvalsh(product @ product.T)
    # Rounding leaves zeros at this size; their roots would add up.
    floor = _PRECISION * np.sqrt(len(eigenvalues)) * eigenvalues.max(initial=0.0)
    overlap = np.sqrt(eigenvalues[eigenvalues > floor]).sum()
    apart = a.mean - b.mean
    distance = apart @ apart + (root_a**2).sum() + (root_b**2).sum() - 2 * overlap
    return max(0.0, float(distance))
