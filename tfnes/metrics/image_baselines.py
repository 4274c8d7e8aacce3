"""What binary images score without any network, to print beside every ELBO.

A model with a categorical latent that is no better than the mean image has collapsed:
it sends everything to one code. K clusters score about what its K categories can reach.
"""

from __future__ import annotations

import math

import numpy as np

_SMOOTHING = 0.5
_MAX_ITERATIONS = 200


def mean_image_neg_elbo(train: np.ndarray, test: np.ndarray) -> float:
    """Returns the mean of -log p(x) over `test` under independent Bernoulli pixels.

    The probability of a pixel is its mean over `train`, with counts smoothed by 1/2.

    Args:
      train: `[N, D]` in {0, 1}.
      test: `[M, D]` in {0, 1}.

    Example:

        >>> import numpy as np
        >>> from tfnes.metrics import mean_image_neg_elbo
        >>> images = np.array([[0, 1], [1, 1]])
        >>> round(mean_image_neg_elbo(images, images), 3)
        0.875
    """
    train = np.asarray(train, np.float32)
    means = _smooth_means(train.sum(axis=0, keepdims=True), np.array([len(train)]))
    return -float(_log_likelihoods(np.asarray(test, np.float32), means).mean())


def cluster_neg_elbo(
    train: np.ndarray,
    test: np.ndarray,
    *,
    num_clusters: int = 10,
    num_restarts: int = 3,
    seed: int = 0,
) -> float:
    """Returns the mean of -log p(x | best cluster) + log K over `test`.

    The K clusters of Bernoulli pixels are fitted to `train` by hard EM (assign each
    image to its likeliest cluster, take smoothed means), from K images that are chosen
    as in k-means++; of all restarts the one with the best fit to `train` counts. log K
    is the KL of a deterministic code to the uniform prior.

    Args:
      train: `[N, D]` in {0, 1}, N >= K.
      test: `[M, D]` in {0, 1}.
      num_clusters: K.
      num_restarts: number of fits.
      seed: integer.

    Example:

        >>> import numpy as np
        >>> from tfnes.metrics import cluster_neg_elbo
        >>> images = np.repeat(np.eye(2), 500, axis=0)
        >>> round(cluster_neg_elbo(images, images, num_clusters=2), 2)
        0.7
    """
    train, test = np.asarray(train, np.float32), np.asarray(test, np.float32)
    rng = np.random.default_rng(seed)
    fits = [_hard_em(train, num_clusters, rng) for _ in range(num_restarts)]
    _, means = max(fits, key=lambda fit: fit[0])
    best = _log_likelihoods(test, means).max(axis=1)
    return math.log(num_clusters) - float(best.mean())


def _hard_em(
    images: np.ndarray, num_clusters: int, rng: np.random.Generator
) -> tuple[float, np.ndarray]:
    """Returns the fit, mean log p(x | its cluster), and the means `[K, D]`."""
    start = [images[rng.integers(len(images))]]
    distance = np.abs(images - start[0]).sum(axis=1)
    for _ in range(num_clusters - 1):
        # Far images first; any where all lie on one that is chosen.
        weights = distance + np.float32(1e-6)
        start.append(images[rng.choice(len(images), p=weights / weights.sum())])
        distance = np.minimum(distance, np.abs(images - start[-1]).sum(axis=1))
    means = 0.5 * np.stack(start) + np.float32(0.25)
    assigned = None
    for _ in range(_MAX_ITERATIONS):
        each = _log_likelihoods(images, means)
        nearest = each.argmax(axis=1)
        if assigned is not None and np.array_equal(nearest, assigned):
            break
        assigned = nearest
        members = np.eye(num_clusters, dtype=np.float32)[assigned]
        means = _smooth_means(members.T @ images, members.sum(axis=0))
    return float(_log_likelihoods(images, means).max(axis=1).mean()), means


def _smooth_means(totals: np.ndarray, counts: np.ndarray) -> np.ndarray:
    counts = np.asarray(counts, np.float32)[:, None]
    return (totals + _SMOOTHING) / (counts + 2 * _SMOOTHING)


def _log_likelihoods(images: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Returns log p(x | k), `[N, K]`."""
    off = np.log1p(-means)
    return images @ (np.log(means) - off).T + off.sum(axis=1)
