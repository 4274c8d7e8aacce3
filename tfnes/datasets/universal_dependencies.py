"""Adaptation of a parser from one treebank to another (Section 4.2, Table 2)."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfnes.checks import (
    check_choice,
    check_flag,
    check_integer,
    check_optional,
    check_path,
    check_real,
    check_seed,
)
from tfnes.datasets.batching import permutation
from tfnes.datasets.conllu_io import read_conllu
from tfnes.datasets.sentence import Sentence
from tfnes.datasets.sentence_provider import SPLITS, SentenceProvider
from tfnes.datasets.treebank_layout import TreebankSpec, check_treebank, find_treebank
from tfnes.datasets.vocabulary import Vocabulary, normalize
from tfnes.datasets.word_vectors import read_word_vectors, special_vectors
from tfnes.errors import DataError, MissingDataError
from tfnes.registration import register

LOGGER = logging.getLogger("tfnes")

VOCABULARIES = ("train", "source", "all_files")
VECTOR_WORDS = ("train", "all_files")
MISSING_TRAIN = ("error", "dev")
_SPLIT_STREAM = 2


@register("dataset")
class TreebankAdaptation(SentenceProvider):
    """Source trees for training, target sentences without trees, target test.

    Splits: `source_train`, `source_dev`, `source_test`, `target_train` (its trees are
    withheld), `target_dev`, `target_test`; those without a file are missing, except
    `source_dev`, which is then cut from the training file. All files are read and
    checked in the constructor. What was decided is in `notes` and `describe()`.

    Args:
      source: treebank with trees: a folder of `data_dir` (`"UD_Indonesian-CSUI"`), the
        path of a folder or of one training file, or `{"train": ..., "dev": ...,
        "test": ...}` with files.
      target: treebank to adapt to, likewise.
      data_dir: folder of the treebanks; None: environment variable TFNES_DATA_DIR.
      vectors: file of external vectors (`.vec`, `.vec.gz`), as given or in `data_dir`;
        None for none.
      vocabulary: where the trained words come from. `"train"`: source training text,
        and target training text, which is there without trees, with count 0;
        `"source"`: source training text alone; `"all_files"`: as the authors' code,
        also source dev and target test, all counted.
      signatures: whether unknown words that look alike (see `signature`) share an
        embedding, trained on the words that word dropout replaces; where False, all
        unknown words are one, `<unk>`.
      vector_words: which words keep their external vectors, as the decoder predicts
        these. `"train"`: words of both training texts; `"all_files"`: of any file.
      most_frequent_vectors: that many first words of the vector file are kept as well.
      max_length: longer sentences are left out of training and dev; None: no limit.
      max_source_length: longer sentences of the source are left out of training; None:
        no limit.
      max_target_length: the same for the target's text.
      dev_fraction: share of the source training file that becomes `source_dev` when
        there is no dev file.
      missing_train: what to do with a treebank that has no training file: `"error"`,
        or `"dev"`: train on its dev file.
      seed: integer; decides which sentences are cut off for dev, and the vectors of
        special words.

    Raises:
      MissingDataError: if a file is missing; says which files to put where.
      DataError: if a file is faulty; says where.
      ConfigurationError: if an argument has no such value.

    Example:

        >>> import tempfile
        >>> from tfnes.datasets import DemoTreebank, TreebankAdaptation
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = DemoTreebank().write_conllu(folder)
        ...     data = TreebankAdaptation(
        ...         source="UD_Demo-Source", target="UD_Demo-Target", data_dir=folder)
        >>> data.num_examples("target_test")
        200

    References:
      Berliner et al. (2022), Section 4.2; Rotman and Reichart (2019).
    """

    def __init__(
        self,
        *,
        source: TreebankSpec,
        target: TreebankSpec,
        data_dir: str | os.PathLike | None = None,
        vectors: str | os.PathLike | None = None,
        vocabulary: str = "train",
        signatures: bool = False,
        vector_words: str = "train",
        most_frequent_vectors: int = 0,
        max_length: int | None = None,
        max_source_length: int | None = 100,
        max_target_length: int | None = 100,
        dev_fraction: float = 0.15,
        missing_train: str = "error",
        seed: int = 0,
    ):
        path = functools.partial(check_optional, check=check_path)
        limit = functools.partial(check_optional, check=check_integer, minimum=1)
        name = "TreebankAdaptation"
        config: dict[str, Any] = {
            "source": check_treebank(f"{name}.source", source),
            "target": check_treebank(f"{name}.target", target),
            "data_dir": path(f"{name}.data_dir", data_dir),
            "vectors": path(f"{name}.vectors", vectors),
            "vocabulary": check_choice(f"{name}.vocabulary", vocabulary, VOCABULARIES),
            "signatures": check_flag(f"{name}.signatures", signatures),
            "vector_words": check_choice(
                f"{name}.vector_words", vector_words, VECTOR_WORDS
            ),
            "most_frequent_vectors": check_integer(
                f"{name}.most_frequent_vectors", most_frequent_vectors, minimum=0
            ),
            "max_length": limit(f"{name}.max_length", max_length),
            "max_source_length": limit(f"{name}.max_source_length", max_source_length),
            "max_target_length": limit(f"{name}.max_target_length", max_target_length),
            "dev_fraction": check_real(
                f"{name}.dev_fraction", dev_fraction, above=0, below=1
            ),
            "missing_train": check_choice(
                f"{name}.missing_train", missing_train, MISSING_TRAIN
            ),
            "seed": check_seed(f"{name}.seed", seed),
        }
        self._config = {key: _plain(value) for key, value in config.items()}
        self.notes: list[str] = []
        # Everything that can be missing is looked for before anything long begins.
        source_files, target_files, vector_file = _all_or_all_faults(
            lambda: self._find("source", source),
            lambda: self._find("target", target),
            lambda: None if vectors is None else _find_vectors(vectors, data_dir),
        )
        sentences = {
            **self._read_source(source_files),
            **_read("target", target_files),
        }
        sentences = self._limit_lengths(
            {split: sentences[split] for split in SPLITS if split in sentences}
        )
        words = _build_vocabulary(vocabulary, sentences, signatures=signatures)
        if vector_file is not None:
            words = self._add_vectors(words, vector_file, sentences)
        super().__init__(sentences=sentences, vocabulary=words, notes=self.notes)

    def get_config(self) -> dict:
        return dict(self._config)

    def _find(self, domain: str, treebank: TreebankSpec) -> dict[str, list[Path]]:
        files = find_treebank(treebank, data_dir=self._config["data_dir"])
        if "train" in files:
            return files
        fault = (
            f"The {domain} treebank {_plain(treebank)} has no training file "
            f"(found: {_names(files)})."
        )
        if "dev" not in files:
            raise MissingDataError(
                f"{fault} Test files are not trained on. Put *-ud-train.conllu beside "
                f"{files['test'][0]}."
            )
        if self._config["missing_train"] == "error":
            raise MissingDataError(
                f"{fault} Put *-ud-train.conllu beside {files['dev'][0]}, or set "
                "missing_train='dev' to train on the dev file."
            )
        self.notes.append(
            f"{domain}_train is the DEV file of {_plain(treebank)}, as the training "
            "file is missing (missing_train='dev')."
        )
        files["train"] = files.pop("dev")
        return files

    def _read_source(self, files: Mapping[str, list[Path]]) -> dict:
        """Reads the source treebank and cuts a dev part off where there is none."""
        sentences = _read("source", files)
        if "source_dev" in sentences:
            return sentences
        train = sentences["source_train"]
        fraction, seed = self._config["dev_fraction"], self._config["seed"]
        count = round(fraction * len(train))
        if not 0 < count < len(train):
            raise DataError(
                f"{files['train'][0]}: {len(train)} sentences cannot be cut into "
                f"training and dev with dev_fraction={fraction}."
            )
        order = permutation(len(train), seed=seed, epoch=0, stream=_SPLIT_STREAM)
        dev = set(order[:count].tolist())
        sentences["source_train"] = [s for i, s in enumerate(train) if i not in dev]
        sentences["source_dev"] = [s for i, s in enumerate(train) if i in dev]
        self.notes.append(
            f"source_dev is {count} sentences ({fraction:.0%}) of "
            f"{_names({'train': files['train']})}, drawn with seed {seed}, as there is "
            "no other dev file."
        )
        return sentences

    def _limit_lengths(self, sentences: dict) -> dict:
        limited = {}
        for split, rows in sentences.items():
            limits = [] if split.endswith("test") else [self._config["max_length"]]
            if split.endswith("train"):
                domain = split.removesuffix("_train")
                limits.append(self._config[f"max_{domain}_length"])
            limit = min((n for n in limits if n is not None), default=None)
            limited[split] = [s for s in rows if limit is None or len(s) <= limit]
            dropped = [s.name for s in rows if limit is not None and len(s) > limit]
            if dropped:
                note = (
                    f"{split}: {len(dropped)} of {len(rows)} sentences have more than "
                    f"{limit} words and were left out: {', '.join(dropped[:3])}"
                    + (", ..." if len(dropped) > 3 else ".")
                )
                self.notes.append(note)
                LOGGER.warning(note)
            if not limited[split]:
                raise DataError(
                    f"{split}: no sentence has at most {limit} words. Set a larger "
                    "max_length, max_source_length or max_target_length."
                )
        return limited

    def _add_vectors(
        self, vocabulary: Vocabulary, path: Path, sentences: Mapping
    ) -> Vocabulary:
        """Keeps the vectors of words as written and as normalized."""
        if self._config["vocabulary"] == "all_files":
            # As the authors: normalized words of the vocabulary alone.
            needed = set(vocabulary.words)
        else:
            everywhere = self._config["vector_words"] == "all_files"
            forms = {
                form
                for split, rows in sentences.items()
                if everywhere or split.endswith("train")
                for sentence in rows
                for form in sentence.forms
            }
            needed = forms | {normalize(form) for form in forms}
        needed -= {"<unk>", "<root>", "<init>"}
        found = read_word_vectors(
            path,
            words=needed,
            most_frequent=self._config["most_frequent_vectors"],
        )
        if not found.words:
            raise DataError(
                f"{path}: none of the treebanks' {len(needed):,} words has a vector. "
                "Are the vectors of another language?"
            )
        specials = special_vectors(found.vectors.shape[1], seed=self._config["seed"])
        return vocabulary.with_vectors(
            found.words, np.concatenate([specials, found.vectors])
        )


def _build_vocabulary(
    name: str, sentences: Mapping[str, Sequence[Sentence]], *, signatures: bool
) -> Vocabulary:
    if name == "all_files":
        order = ("source_train", "source_dev", "target_test", "target_train")
        rows = [s for split in order for s in sentences.get(split, ())]
        return Vocabulary.build(rows, all_tokens=True, signatures=signatures)
    unlabeled = sentences["target_train"] if name == "train" else ()
    return Vocabulary.build(
        sentences["source_train"], unlabeled=unlabeled, signatures=signatures
    )


def _read(domain: str, files: Mapping[str, list[Path]]) -> dict[str, list[Sentence]]:
    """Reads all files of a treebank; the target's training text may have no trees."""
    sentences = {}
    for part, paths in files.items():
        split = f"{domain}_{part}"
        rows = [
            sentence
            for path in paths
            for sentence in read_conllu(path, gold=split != "target_train")
        ]
        sentences[split] = rows
    return sentences


def _find_vectors(path: str | os.PathLike, data_dir: str | os.PathLike | None) -> Path:
    places = [Path(path)]
    data_dir = data_dir or os.environ.get("TFNES_DATA_DIR")
    if data_dir and not places[0].is_absolute():
        places.append(Path(data_dir, path))
    for place in places:
        if place.is_file():
            return place
    raise MissingDataError(
        f"There is no file of word vectors at {' or '.join(map(str, places))}. "
        "Expected fastText's text form (.vec or .vec.gz; published vectors: "
        "https://fasttext.cc); set vectors=None to do without."
    )


def _all_or_all_faults(*searches: Callable[[], Any]) -> list[Any]:
    """Returns what the searches find, or raises one error for all that is missing."""
    found, faults = [], []
    for search in searches:
        try:
            found.append(search())
        except MissingDataError as error:
            faults.append(str(error))
    if faults:
        raise MissingDataError("\n\n".join(faults))
    return found


def _names(files: Mapping[str, list[Path]]) -> str:
    return ", ".join(path.name for paths in files.values() for path in paths)


def _plain(value):
    """Returns `value` with paths as strings, for configurations and messages."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value
