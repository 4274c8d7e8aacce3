"""Words, relations and external vectors as integers."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

import keras
import numpy as np

from tfnes.checks import check_entries
from tfnes.datasets.sentence import Sentence
from tfnes.errors import ConfigurationError, DataError

UNKNOWN, ROOT, INIT = "<unk>", "<root>", "<init>"
WORD_SPECIALS = (UNKNOWN, ROOT)
EXTERNAL_SPECIALS = (UNKNOWN, ROOT, INIT)
NUMBER = "NUM"


def normalize(form: str) -> str:
    """Returns `form` in lower case, or `NUM` if it starts with a digit 0-9.

    A blank inside a form becomes `_`, as word-vector files have no blanks in words.

    Example:

        >>> from tfnes.datasets import normalize
        >>> [normalize(form) for form in ("Jakarta", "2,5", "10 000", "New York")]
        ['jakarta', 'NUM', 'NUM', 'new_york']
    """
    if form[:1] in tuple("0123456789"):
        return NUMBER
    return form.lower().replace(" ", "_")


def signature(form: str) -> str:
    """Returns a name for the words that look like `form`: its shape, two last letters.

    The shapes are digits (`0`), punctuation (`.`), all capitals (`XX`), a capital first
    (`Xx`), letters alone (`x`), and other (`-`). Endings and capitals tell much of a
    word's part of speech even where the word was never seen.

    Example:

        >>> from tfnes.datasets import signature
        >>> [signature(form) for form in ("Jakarta", "makanan", "anak-anak", "2,5")]
        ['<unk:Xx:ta>', '<unk:x:an>', '<unk:-:ak>', '<unk:0>']

    References:
      Weischedel et al. 1993, "Coping with ambiguity and unknown words through
      probabilistic models" (endings, capitals, hyphens).
    """
    if normalize(form) == NUMBER:
        return "<unk:0>"
    if all(unicodedata.category(character)[0] == "P" for character in form):
        return "<unk:.>"
    if form.isupper() and len(form) > 1:
        shape = "XX"
    elif form[:1].isupper():
        shape = "Xx"
    else:
        shape = "x" if form.isalpha() else "-"
    return f"<unk:{shape}:{normalize(form)[-2:]}>"


@dataclasses.dataclass(frozen=True)
class EncodedSentences:
    """N sentences as arrays; the words of all sentences stand one after another.

    Attributes:
      lengths: `[N]` int32, words of each sentence.
      words: `[T]` int32, T the sum of `lengths`.
      unknown: `[T]` int32, what stands for each word where it is unknown: 0, or its
        signature; None without signatures.
      external: `[T]` int32, or None without external vectors.
      heads: `[T]` int32, or None unless every sentence has a tree.
      relations: `[T]` int32, or None likewise.
      punctuation: `[T]` bool, whether UPOS is PUNCT.
    """

    lengths: np.ndarray
    words: np.ndarray
    unknown: np.ndarray | None
    external: np.ndarray | None
    heads: np.ndarray | None
    relations: np.ndarray | None
    punctuation: np.ndarray

    def without_trees(self) -> EncodedSentences:
        """Returns the same text without gold heads and relations."""
        return dataclasses.replace(self, heads=None, relations=None)


@keras.saving.register_keras_serializable(package="tfnes")
class Vocabulary:
    """The words, relations and external words that a parser knows.

    Attributes:
      words: normalized forms by index: 0 `<unk>`, 1 `<root>`, words from 2, and at the
        end the signatures.
      counts: occurrences of each word in the labeled source text (`<root>`: the number
        of sentences), for word dropout; 0 for words of unlabeled text alone.
      num_signatures: how many of `words` are signatures. An unknown word has the index
        of its signature; 0, if that is not among them.
      relations: names by index; 0 is `<unk>`, for gold relations whose universal part
        training did not have. It must never be predicted.
      external_words: words with an external vector: 0 `<unk>`, 1 `<root>`, 2 `<init>`,
        words from 3, as written in the vector file; None without vectors.
      vectors: `[len(external_words), D]` float32, or None. Not part of the
        configuration: a model keeps them among its weights.

    Args:
      words: see above.
      counts: see above.
      relations: see above.
      num_signatures: see above.
      external_words: see above.
      vectors: see above.

    Raises:
      ConfigurationError: if the lists do not fit together.

    Example:

        >>> from tfnes.datasets import Sentence, Vocabulary
        >>> cat = Sentence(("A", "cat"), ("DET", "NOUN"), (2, 0), ("det", "root"))
        >>> vocabulary = Vocabulary.build([cat])
        >>> vocabulary.words
        ['<unk>', '<root>', 'a', 'cat']
        >>> vocabulary.encode([cat]).words.tolist()
        [2, 3]
    """

    def __init__(
        self,
        *,
        words: Sequence[str],
        counts: Sequence[int],
        relations: Sequence[str],
        num_signatures: int = 0,
        external_words: Sequence[str] | None = None,
        vectors: np.ndarray | None = None,
    ):
        self.words = list(words)
        self.counts = [int(count) for count in counts]
        self.relations = list(relations)
        self.num_signatures = int(num_signatures)
        self.external_words = None if external_words is None else list(external_words)
        self.vectors = None if vectors is None else np.asarray(vectors, np.float32)
        self._check()
        # Specials are left out: a token `<root>` in a text is not the root.
        self._word_index = _index(self.words[: self.num_words], len(WORD_SPECIALS))
        self._signature_index = {
            name: i for i, name in enumerate(self.words) if i >= self.num_words
        }
        self._external_index = _index(self.external_words or (), len(EXTERNAL_SPECIALS))
        self._relation_index = _index(self.relations, 1)
        # A relation whose subtype training did not have still has its universal part,
        # which is what the official LAS compares.
        for name, i in list(self._relation_index.items()):
            self._relation_index.setdefault(name.split(":")[0], i)

    @property
    def num_words(self) -> int:
        """Number of `words` that are no signatures."""
        return len(self.words) - self.num_signatures

    @classmethod
    def build(
        cls,
        sentences: Sequence[Sentence],
        *,
        unlabeled: Sequence[Sentence] = (),
        all_tokens: bool = False,
        signatures: bool = False,
    ) -> Vocabulary:
        """Returns the vocabulary of a training set, in order of first appearance.

        Args:
          sentences: labeled text; its words are counted, its relations collected.
          unlabeled: further text; its words get count 0.
          all_tokens: whether the forms of multiword tokens and empty nodes count as
            words, as in the authors' code.
          signatures: whether unknown words of one `signature` share an entry of their
            own; those are made that two or more words of `sentences` have.
        """
        counts: Counter[str] = Counter()
        relations: dict[str, None] = {}
        for sentence in sentences:
            counts.update(map(normalize, sentence.forms))
            if all_tokens:
                counts.update(map(normalize, sentence.other_forms))
            relations.update(dict.fromkeys(sentence.relations or ()))
        for sentence in unlabeled:
            for form in sentence.forms:
                counts.setdefault(normalize(form), 0)
        for special in WORD_SPECIALS:
            counts.pop(special, None)
        extra = _shared_signatures(sentences) if signatures else []
        return cls(
            words=[*WORD_SPECIALS, *counts, *extra],
            counts=[0, len(sentences), *counts.values(), *([0] * len(extra))],
            num_signatures=len(extra),
            relations=[UNKNOWN, *(name for name in relations if name != UNKNOWN)],
        )

    def with_vectors(self, words: Sequence[str], vectors: np.ndarray) -> Vocabulary:
        """Returns the vocabulary with external vectors.

        Args:
          words: V - 3 words, without the specials.
          vectors: `[V, D]`, the rows of `<unk>`, `<root>`, `<init>` first.
        """
        return Vocabulary(
            **{**self.get_config(), "external_words": [*EXTERNAL_SPECIALS, *words]},
            vectors=vectors,
        )

    def encode(self, sentences: Iterable[Sentence]) -> EncodedSentences:
        """Returns the sentences as arrays.

        An external word is looked up as written, then normalized, else it is `<unk>`.
        """
        sentences = list(sentences)
        lengths = np.array([len(sentence) for sentence in sentences], np.int32)
        forms = [form for sentence in sentences for form in sentence.forms]
        # Each distinct form is normalized once.
        known = {form: self._lookup(form) for form in dict.fromkeys(forms)}
        table = np.array([known[form] for form in forms], np.int32).reshape(-1, 3)
        heads = relations = None
        trees = [(s.heads, s.relations) for s in sentences if s.heads and s.relations]
        if sentences and len(trees) == len(sentences):
            heads = _flat(heads for heads, _ in trees)
            relations = _flat(
                [self._relation(name) for name in names] for _, names in trees
            )
        return EncodedSentences(
            lengths=lengths,
            words=table[:, 0],
            unknown=table[:, 1] if self.num_signatures else None,
            external=None if self.external_words is None else table[:, 2],
            heads=heads,
            relations=relations,
            punctuation=_flat(
                [tag == "PUNCT" for tag in sentence.upos] for sentence in sentences
            ).astype(bool),
        )

    def _relation(self, name: str) -> int:
        index = self._relation_index
        return index.get(name, index.get(name.split(":")[0], 0))

    def get_config(self) -> dict:
        """Returns the constructor's arguments but `vectors`, JSON-able."""
        return {
            "words": list(self.words),
            "counts": list(self.counts),
            "relations": list(self.relations),
            "num_signatures": self.num_signatures,
            "external_words": None
            if self.external_words is None
            else list(self.external_words),
        }

    @classmethod
    def from_config(cls, config: dict) -> Vocabulary:
        return cls(**config)

    def _lookup(self, form: str) -> tuple[int, int, int]:
        """Returns the word, what stands for it where it is unknown, its vector."""
        normalized = normalize(form)
        external = self._external_index.get(form)
        if external is None:
            external = self._external_index.get(normalized, 0)
        unknown = 0
        if self._signature_index:
            unknown = self._signature_index.get(signature(form), 0)
        return self._word_index.get(normalized, unknown), unknown, external

    def _check(self) -> None:
        if tuple(self.words[:2]) != WORD_SPECIALS:
            raise ConfigurationError(
                f"Vocabulary.words must begin with {WORD_SPECIALS}. Received: "
                f"{self.words[:2]}."
            )
        if len(self.counts) != len(self.words):
            raise ConfigurationError(
                f"Vocabulary.counts must have one count for each of {len(self.words)} "
                f"words. Received: {len(self.counts)}."
            )
        if not 0 <= self.num_signatures <= len(self.words) - len(WORD_SPECIALS):
            raise ConfigurationError(
                "Vocabulary.num_signatures must be a number of the words after "
                f"{WORD_SPECIALS}. Received: {self.num_signatures}."
            )
        if self.external_words is not None and (
            tuple(self.external_words[:3]) != EXTERNAL_SPECIALS
        ):
            raise ConfigurationError(
                f"Vocabulary.external_words must begin with {EXTERNAL_SPECIALS}. "
                f"Received: {self.external_words[:3]}."
            )
        rows = None if self.external_words is None else len(self.external_words)
        if self.vectors is not None and (
            self.vectors.ndim != 2 or len(self.vectors) != rows
        ):
            raise ConfigurationError(
                f"Vocabulary.vectors must have one row for each of {rows} external "
                f"words. Received: shape {self.vectors.shape}."
            )
        if self.vectors is not None:
            check_entries("vectors", np.isfinite(self.vectors), "finite")


def _index(names: Sequence[str], specials: int) -> dict[str, int]:
    index: dict[str, int] = {}
    for i, name in enumerate(names):
        if i >= specials and index.setdefault(name, i) != i:
            raise DataError(f"{name!r} occurs twice in a vocabulary; it must not.")
    return index


def _shared_signatures(sentences: Sequence[Sentence]) -> list[str]:
    """Returns the signatures that two or more words have, in order of appearance."""
    members: dict[str, set[str]] = {}
    for form in dict.fromkeys(form for s in sentences for form in s.forms):
        members.setdefault(signature(form), set()).add(normalize(form))
    return [name for name, words in members.items() if len(words) > 1]


def _flat(rows: Iterable[Sequence[int]]) -> np.ndarray:
    return np.array([value for row in rows for value in row], np.int32)
