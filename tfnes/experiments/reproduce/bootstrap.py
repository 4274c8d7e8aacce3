"""Whether two parsers differ: paired bootstrap over sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def paired_bootstrap(
    first: Sequence[Sequence[int]],
    second: Sequence[Sequence[int]],
    counted: Sequence[int],
) -> dict[str, float]:
    """Compares the UAS of two methods on the same sentences.

    Sentences are drawn with replacement, the same ones for both methods and all seeds.

    Args:
      first: `[S, N]`, words with the right head by seed and sentence.
      second: the same of the other method.
      counted: `[N]`, words of each sentence.

    Returns:
      `difference`, UAS of `second` less that of `first` in points, and `p`, the
      two-sided level at which it differs from 0.
    """
    gain = np.mean(second, axis=0) - np.mean(first, axis=0)
    return bootstrap(gain, np.asarray(counted), num_samples=10_000, seed=0)


def bootstrap(
    gain: np.ndarray, counted: np.ndarray, *, num_samples: int, seed: int
) -> dict[str, float]:
    """Returns the mean gain a word in points, and its two-sided bootstrap level.

    Args:
      gain: `[N]`, words more of each sentence that are right.
      counted: `[N]`, words of each sentence.
      num_samples: of the bootstrap.
      seed: of the bootstrap.

    Example:

        >>> import numpy as np
        >>> bootstrap(np.ones(9), np.full(9, 10), num_samples=99, seed=0)
        {'difference': 10.0, 'p': 0.02}
    """
    rng = np.random.default_rng(seed)
    sizes = np.asarray(counted, np.float64)
    means = np.empty(num_samples)
    for block in np.array_split(np.arange(num_samples), -(-num_samples // 500)):
        rows = rng.integers(len(gain), size=(len(block), len(gain)))
        means[block] = gain[rows].sum(1) / sizes[rows].sum(1)
    # One is added for the observed sample, so that no level is 0.
    below = (np.count_nonzero(means <= 0) + 1) / (num_samples + 1)
    above = (np.count_nonzero(means >= 0) + 1) / (num_samples + 1)
    return {
        "difference": float(100 * gain.sum() / sizes.sum()),
        "p": float(min(1.0, 2 * min(below, above))),
    }
