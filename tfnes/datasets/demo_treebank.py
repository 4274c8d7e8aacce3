"""The default data set: an invented language, generated on the spot, nothing to fetch.

It exists to try the whole parsing job (training on one domain, adaptation to the other
without trees, test) within minutes and without files. Its numbers say whether a program
works; they say nothing about any real language. See `demo_grammar`.
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from tfnes.checks import check_choice, check_integer
from tfnes.datasets.conllu_io import write_conllu
from tfnes.datasets.cooccurrence import cooccurrence_vectors
from tfnes.datasets.demo_grammar import DOMAINS, DemoGrammar
from tfnes.datasets.sentence_provider import SPLITS, SentenceProvider
from tfnes.datasets.vocabulary import EXTERNAL_SPECIALS, Vocabulary
from tfnes.datasets.word_vectors import special_vectors
from tfnes.errors import ConfigurationError
from tfnes.files import write_text
from tfnes.registration import register

_RAW_SENTENCES = 1000
_VOCABULARIES = ("train", "source")
_TREEBANKS = {"source": "UD_Demo-Source", "target": "UD_Demo-Target"}


@register("dataset")
class DemoTreebank(SentenceProvider):
    """Two generated treebanks of one invented language: a source and a target domain.

    The splits are those of `TreebankAdaptation`: `source_train`, `source_dev`,
    `source_test`, `target_train` (trees withheld), `target_dev`, `target_test`.
    External vectors come from co-occurrence counts in raw text of both domains,
    generated apart from all splits.

    Args:
      source_train: number of sentences of this split, and so on.
      source_dev: see above.
      source_test: see above.
      target_train: see above.
      target_dev: see above.
      target_test: see above.
      vector_dimension: size of the external vectors; 0 for none.
      vocabulary: `"train"`: words of `source_train` and `target_train`; `"source"`: of
        `source_train` alone.
      seed: integer, not negative; another one is another language and other sentences.

    Raises:
      ConfigurationError: if a number is too small or `vocabulary` unknown.

    Example:

        >>> from tfnes.datasets import DemoTreebank
        >>> data = DemoTreebank(source_train=20, target_train=10)
        >>> batch = next(iter(data.get_dataset("source_train", batch_size=4)))
        >>> sorted(batch)
        ['external', 'heads', 'index', 'lengths', 'punctuation', 'relations', 'words']
    """

    def __init__(
        self,
        *,
        source_train: int = 500,
        source_dev: int = 150,
        source_test: int = 150,
        target_train: int = 400,
        target_dev: int = 200,
        target_test: int = 200,
        vector_dimension: int = 50,
        vocabulary: str = "train",
        seed: int = 1,
    ):
        sizes = {
            "source_train": source_train,
            "source_dev": source_dev,
            "source_test": source_test,
            "target_train": target_train,
            "target_dev": target_dev,
            "target_test": target_test,
        }
        self._config: dict[str, Any] = {
            split: check_integer(f"DemoTreebank.{split}", size, minimum=1)
            for split, size in sizes.items()
        }
        vector_dimension = check_integer(
            "DemoTreebank.vector_dimension", vector_dimension, minimum=0
        )
        check_choice("DemoTreebank.vocabulary", vocabulary, _VOCABULARIES)
        seed = check_integer("DemoTreebank.seed", seed, minimum=0)
        self._config |= {
            "vector_dimension": vector_dimension,
            "vocabulary": vocabulary,
            "seed": seed,
        }
        grammar = DemoGrammar(seed=seed)
        sentences = {
            split: grammar.generate(
                split.split("_")[0], self._config[split], seed=100 * seed + number
            )
            for number, split in enumerate(SPLITS, start=1)
        }
        words = Vocabulary.build(
            sentences["source_train"],
            unlabeled=sentences["target_train"] if vocabulary == "train" else (),
        )
        if vector_dimension:
            known, vectors = _vectors(seed, vector_dimension)
            words = words.with_vectors(
                known,
                np.concatenate([special_vectors(vector_dimension, seed=seed), vectors]),
            )
        super().__init__(sentences=sentences, vocabulary=words)

    def get_config(self) -> dict:
        return dict(self._config)

    def write_vectors(self, path: str | os.PathLike) -> None:
        """Writes the external vectors in fastText's text form, without the specials."""
        vocabulary = self.vocabulary
        if vocabulary.vectors is None or vocabulary.external_words is None:
            raise ConfigurationError(
                "There are no vectors to write, as DemoTreebank.vector_dimension is 0."
            )
        words = vocabulary.external_words[len(EXTERNAL_SPECIALS) :]
        rows = vocabulary.vectors[len(EXTERNAL_SPECIALS) :]
        lines = [f"{len(words)} {rows.shape[1]}"]
        for word, row in zip(words, rows.tolist(), strict=True):
            lines.append(" ".join([word, *(f"{value:.9g}" for value in row)]))
        write_text(path, "\n".join(lines) + "\n")

    def write_conllu(self, directory: str | os.PathLike) -> dict[str, Path]:
        """Writes the treebanks in the layout of a UD release.

        Returns:
          the file of each split, e.g. `UD_Demo-Source/demo_source-ud-train.conllu`.
        """
        paths = {}
        for split in self.splits:
            domain, part = split.split("_")
            path = Path(
                directory, _TREEBANKS[domain], f"demo_{domain}-ud-{part}.conllu"
            )
            write_conllu(path, self.sentences(split))
            paths[split] = path
        return paths


@functools.lru_cache(maxsize=4)
def _vectors(seed: int, dimension: int) -> tuple[list[str], np.ndarray]:
    grammar = DemoGrammar(seed=seed)
    texts = {
        domain: [
            sentence.forms
            for sentence in grammar.generate(
                domain, _RAW_SENTENCES, seed=100 * seed + 50 + number
            )
        ]
        for number, domain in enumerate(DOMAINS)
    }
    both = [
        Counter(word for sentence in text for word in sentence)
        for text in texts.values()
    ]
    # Contexts of one domain alone would tell the domains apart, not the categories.
    contexts = [word for word in both[0] if min(both[0][word], both[1][word]) >= 20]
    return cooccurrence_vectors(
        [*texts["source"], *texts["target"]],
        dimension=dimension,
        contexts=contexts,
        min_count=2,
    )
