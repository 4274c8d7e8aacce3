"""Word vectors in fastText's text form, read line by line."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from tfnes.checks import check_integer
from tfnes.errors import DataError, MissingDataError

_LARGEST = float(np.finfo(np.float32).max)


class WordVectors(NamedTuple):
    """Words in the order of the file, and `[V, D]` float32, one row for each."""

    words: list[str]
    vectors: np.ndarray


def read_word_vectors(
    path: str | os.PathLike,
    *,
    words: Collection[str] | None = None,
    most_frequent: int = 0,
    dimension: int | None = None,
) -> WordVectors:
    """Reads a `.vec` or `.vec.gz` file and keeps the words that are needed.

    Each line is a word and D numbers, separated by blanks. The first line may hold the
    number of words and D. The file is never in memory as a whole, so its size does not
    matter. Of a word that occurs twice the first vector is kept.

    Args:
      path: the file, UTF-8.
      words: the words to keep, exactly as written in the file; None for all.
      most_frequent: that many first words of the file are kept too (these files are
        ordered by falling frequency).
      dimension: the D that is expected; None for any.

    Raises:
      MissingDataError: if the file does not exist.
      DataError: if a line does not have D numbers, or the file has fewer lines than its
        first line says.

    Example:

        >>> import os, tempfile
        >>> from tfnes.datasets import read_word_vectors
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "tiny.vec")
        ...     with open(path, "w") as file:
        ...         _ = file.write("2 3\\ncat 1 2 3\\ndog 4 5 6\\n")
        ...     vectors = read_word_vectors(path, words={"dog"})
        >>> vectors.words, vectors.vectors.tolist()
        (['dog'], [[4.0, 5.0, 6.0]])
    """
    path = os.fspath(path)
    needed = None if words is None else {word.encode("utf-8") for word in words}
    reader = _Reader(path, needed, most_frequent, dimension)
    try:
        with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
            for line in file:
                reader.add(line)
    except FileNotFoundError:
        raise MissingDataError(
            f"{path}: there is no such file of word vectors. Expected fastText's text "
            "form (.vec or .vec.gz; published vectors: https://fasttext.cc); give its "
            "path, or vectors=None to do without."
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: the file cannot be read: {error}. Fetch it again."
        ) from None
    return reader.finish()


def special_vectors(dimension: int, *, seed: int) -> np.ndarray:
    """Returns the rows of `<unk>`, `<root>`, `<init>`: U(-sqrt(3/D), sqrt(3/D)).

    Args:
      dimension: D.
      seed: integer; the same seed gives the same rows.

    Returns:
      `[3, D]` float32.
    """
    dimension = check_integer("dimension", dimension, minimum=1)
    key = np.array([int(seed) & (2**64 - 1), 0], np.uint64)
    bits = np.random.Philox(key=key).random_raw(3 * dimension)
    uniform = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    bound = np.sqrt(3.0 / dimension)
    return ((2.0 * uniform - 1.0) * bound).reshape(3, dimension).astype(np.float32)


class _Reader:
    """Takes the lines of one file."""

    def __init__(
        self,
        path: str,
        needed: set[bytes] | None,
        most_frequent: int,
        dimension: int | None,
    ):
        self.path = path
        self.needed = needed
        self.most_frequent = most_frequent
        self.dimension = dimension
        self.line = 0
        self.promised: int | None = None
        self.rows: dict[bytes, list[float]] = {}

    def add(self, line: bytes) -> None:
        self.line += 1
        line = line.rstrip(b" \r\n")
        if self.line == 1:
            fields = line.removeprefix(b"\xef\xbb\xbf").split(b" ")
            if len(fields) == 2 and fields[0].isdigit() and fields[1].isdigit():
                self.promised = int(fields[0])
                self.check_dimension(int(fields[1]))
                return
            self.check_dimension(len(fields) - 1)
        if line.count(b" ") != self.dimension:
            self.fail(
                f"a word and {self.dimension} numbers were expected, but "
                f"{line.count(b' ')} numbers were found"
            )
        word, _, numbers = line.partition(b" ")
        count = self.line - (self.promised is not None)
        wanted = (
            self.needed is None or word in self.needed or count <= self.most_frequent
        )
        if not wanted or word in self.rows:
            return
        try:
            row = [float(number) for number in numbers.split(b" ")]
        except ValueError as error:
            self.fail(f"{error} (word {word.decode(errors='replace')!r})")
        if not all(abs(number) <= _LARGEST for number in row):  # false of NaN
            self.fail("a number is not finite in 32 bits")
        self.rows[word] = row

    def check_dimension(self, found: int) -> None:
        if found < 1:
            self.fail("expected 'WORD NUMBER NUMBER ...' or 'COUNT DIMENSION'")
        if self.dimension is not None and found != self.dimension:
            self.fail(
                f"vectors of dimension {self.dimension} were expected, the file has "
                f"dimension {found}"
            )
        self.dimension = found

    def finish(self) -> WordVectors:
        if self.dimension is None:
            raise DataError(f"{self.path}: the file is empty; word vectors expected.")
        count = self.line - (self.promised is not None)
        if self.promised is not None and count < self.promised:
            self.fail(
                f"the first line promises {self.promised:,} words, but the file ends "
                f"after {count:,}; fetch it again"
            )
        try:
            words = [word.decode("utf-8") for word in self.rows]
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.path}: not UTF-8 ({error}). Convert the file to UTF-8."
            ) from None
        table = np.array(list(self.rows.values()), np.float32)
        return WordVectors(words, table.reshape(len(words), self.dimension))

    def fail(self, fault: str) -> None:
        raise DataError(
            f"{self.path}, line {self.line}: {fault}. Expected fastText's text form."
        )
