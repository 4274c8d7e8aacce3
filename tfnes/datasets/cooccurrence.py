"""Word vectors from co-occurrence counts, for the demo treebank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from tfnes.errors import ConfigurationError


def cooccurrence_vectors(
    sentences: Sequence[Sequence[str]],
    *,
    dimension: int,
    contexts: Collection[str],
    window: int = 2,
    min_count: int = 1,
) -> tuple[list[str], np.ndarray]:
    """Returns vectors of the words of a text, from the words that stand near them.

    The positive pointwise mutual information of a word and a context, max(0, log
    p(w, c) - log p(w) - log p(c)), is factorized by a truncated singular value
    decomposition, U S^(1/2), and the result scaled to unit mean square. A context is a
    word of `contexts` at a certain distance (-window ... window, not 0), so that words
    with the same syntactic behavior get similar vectors.

    Args:
      sentences: the text, word by word.
      dimension: D, at most V and the number of contexts, 2 * window * len(contexts).
      contexts: words that may be contexts; others are seen but tell nothing.
      window: largest distance.
      min_count: rarer words get no vector.

    Returns:
      V words by falling frequency, and `[V, D]` float32.

    Raises:
      ConfigurationError: if `dimension` is larger than the number of contexts.

    References:
      Levy and Goldberg (2014), Neural word embedding as implicit matrix factorization.
    """
    counts = Counter(word for sentence in sentences for word in sentence)
    words = [word for word, count in counts.most_common() if count >= min_count]
    row = {word: i for i, word in enumerate(words)}
    columns = sorted(context for context in contexts if context in row)
    limit = min(len(words), 2 * window * len(columns))
    if not 1 <= dimension <= limit:
        raise ConfigurationError(
            f"dimension must be in 1 ... {limit}, as there are {len(words)} words and "
            f"{2 * window * len(columns)} contexts. Received: {dimension}."
        )
    column = {context: i for i, context in enumerate(columns)}
    table = np.zeros((len(words), 2 * window * len(columns)))
    pairs: Counter[tuple[int, int]] = Counter()
    for sentence in sentences:
        rows = [row.get(word, -1) for word in sentence]
        places = [column.get(word, -1) for word in sentence]
        for offset in [*range(-window, 0), *range(1, window + 1)]:
            base = (offset + window - (offset > 0)) * len(columns)
            near, far = (rows, places[offset:]) if offset > 0 else (
                rows[-offset:], places,
            )  # fmt: skip
            pairs.update(
                (i, base + j) for i, j in zip(near, far, strict=False) if min(i, j) >= 0
            )
    for (i, j), count in pairs.items():
        table[i, j] = count
    total = table.sum()
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / total
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.where(table > 0, np.log(table / expected), 0.0)
    left, singular, _ = np.linalg.svd(np.maximum(information, 0.0), full_matrices=False)
    vectors = left[:, :dimension] * np.sqrt(singular[:dimension])
    # The sign of a singular vector is arbitrary: make its largest entry positive.
    largest = np.abs(vectors).argmax(axis=0)
    vectors *= np.sign(vectors[largest, np.arange(vectors.shape[1])])
    vectors /= np.sqrt((vectors**2).mean())
    return words, vectors.astype(np.float32)
