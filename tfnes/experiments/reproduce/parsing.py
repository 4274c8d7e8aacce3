"""What Table 2 computes beside training: starting points, paired bootstrap."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnes.datasets.conllu_io import read_conllu, write_conllu
from tfnes.datasets.sentence import Sentence
from tfnes.experiments import evaluation
from tfnes.experiments.saved_run import SavedRun
from tfnes.structures import DependencyTree

SPLIT = "target_test"


def evaluate_start(
    run: str, *, projective: bool, data_dir: str | None, output: str
) -> dict[str, Any]:
    """Returns the scores of a run's model when it searches other trees.

    Args:
      run: the run directory of the supervised phase.
      projective: of the trees.
      data_dir: where the data is, if not where it was.
      output: where the predicted trees of the target test set go.
    """
    saved = SavedRun(run)
    data = saved.load_dataset(data_dir=data_dir)
    model = saved.load_model()
    model.structure = DependencyTree(
        projective=projective, single_root=model.structure.single_root
    )
    scores = {
        split: evaluation.evaluate_dataset(
            model, data.get_dataset(split, batch_size=64)
        )
        for split in ("source_dev", SPLIT)
    }
    sentences = data.sentences(SPLIT)[: data.num_examples(SPLIT)]
    heads, relations = evaluation.TreePredictor(model)(sentences)
    write_conllu(output, sentences, heads=heads, relations=relations)
    return {"scores": scores}


def paired_bootstrap(
    first: Sequence[str],
    second: Sequence[str],
    *,
    gold_run: str,
    data_dir: str | None,
    num_samples: int = 10_000,
    seed: int = 0,
) -> dict[str, float]:
    """Compares the UAS of two methods on the same sentences.

    Sentences are drawn with replacement, the same ones for both methods and all seeds.
    Words with UPOS PUNCT do not count.

    Args:
      first: files of predicted trees, one for each seed.
      second: the same of the other method.
      gold_run: a run on the data, which tells the gold trees.
      data_dir: where the data is, if not where it was.
      num_samples: of the bootstrap.
      seed: of the bootstrap.

    Returns:
      `difference`, UAS of `second` less that of `first` in points, and `p`, the
      two-sided level at which it differs from 0.
    """
    gold = SavedRun(gold_run).load_dataset(data_dir=data_dir).sentences(SPLIT)
    counted = np.array([len(_real_words(sentence)) for sentence in gold])
    gain = _correct(second, gold) / len(second) - _correct(first, gold) / len(first)
    return bootstrap(gain, counted, num_samples=num_samples, seed=seed)


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
    for i in range(num_samples):
        rows = rng.integers(len(gain), size=len(gain))
        means[i] = gain[rows].sum() / sizes[rows].sum()
    # One is added for the observed sample, so that no level is 0.
    below = (np.count_nonzero(means <= 0) + 1) / (num_samples + 1)
    above = (np.count_nonzero(means >= 0) + 1) / (num_samples + 1)
    return {
        "difference": float(100 * gain.sum() / sizes.sum()),
        "p": float(min(1.0, 2 * min(below, above))),
    }


def _correct(files: Sequence[str], gold: Sequence[Sentence]) -> np.ndarray:
    """Returns the words of each sentence with the right head, summed over files."""
    total = np.zeros(len(gold))
    for path in files:
        predicted = read_conllu(pathlib.Path(path))
        for i, (one, true) in enumerate(zip(predicted, gold, strict=True)):
            words = _real_words(true)
            total[i] += sum(one.heads[w] == true.heads[w] for w in words)
    return total


def _real_words(sentence: Sentence) -> list[int]:
    return [i for i, tag in enumerate(sentence.upos) if tag != "PUNCT"]
