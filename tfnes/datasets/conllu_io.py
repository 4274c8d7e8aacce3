"""Strict reading and faithful writing of CoNLL-U files, and reading of plain tokens.

A file is refused at its first fault, with one `DataError` that names the file, the
line, the sentence and what to do. Nothing is repaired silently. A file that is read and
written again is the same, byte for byte; with new heads and relations only columns 7
and 8 of the words differ.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from tfnes.datasets.conllu_parsing import parse_conllu
from tfnes.datasets.sentence import Sentence
from tfnes.errors import DataError, MissingDataError
from tfnes.files import write_bytes


def read_conllu(path: str | os.PathLike, *, gold: bool = True) -> list[Sentence]:
    """Reads a `.conllu` or `.conllu.gz` file.

    Args:
      path: the file, UTF-8, with LF or CRLF line ends.
      gold: whether every word must have a head; where False, a sentence whose heads are
        all `_` is read without a tree.

    Raises:
      MissingDataError: if the file does not exist.
      DataError: if it is not valid CoNLL-U; the message names the place and the remedy.

    Example:

        >>> import tempfile
        >>> from tfnes.datasets import DemoTreebank, read_conllu
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = DemoTreebank().write_conllu(folder)["target_test"]
        ...     sentences = read_conllu(path)
        >>> len(sentences)
        200
    """
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        raise MissingDataError(
            f"{path}: there is no such file. A CoNLL-U file was expected here; check "
            "the path."
        ) from None
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read: {error}.") from None
    if path.endswith(".gz"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{path}: not a complete gzip file ({error}). Fetch it again, or "
                "unpack it and give the .conllu file."
            ) from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        raise DataError(
            f"{path}, line {line}: not UTF-8 (byte 0x{byte:02x}). CoNLL-U is UTF-8; if "
            f"the file is Latin-1, convert it: iconv -f latin1 -t utf-8 FILE > NEW."
        ) from None
    return parse_conllu(text, path=path, gold=gold)


def write_conllu(
    path: str | os.PathLike,
    sentences: Iterable[Sentence],
    *,
    heads: Sequence[Sequence[int]] | None = None,
    relations: Sequence[Sequence[str]] | None = None,
) -> None:
    """Writes sentences, with new heads and relations where they are given.

    The file appears under its name only when it is complete. Comments, multiword
    tokens, empty nodes and all other columns are those that were read.

    Args:
      path: `.conllu`, or `.conllu.gz` for a compressed file.
      sentences: N sentences.
      heads: for each sentence its heads (rows may be longer: padding is ignored).
      relations: for each sentence the names of its relations, likewise.

    Raises:
      DataError: if the number of rows is not N, or a row does not fit its sentence.
      StorageError: if the file cannot be written.
    """
    path = os.fspath(path)
    sentences = list(sentences)
    for name, rows in (("heads", heads), ("relations", relations)):
        if rows is not None and len(rows) != len(sentences):
            raise DataError(
                f"{path}: {len(sentences)} rows of {name} were expected, one for each "
                f"sentence. Received: {len(rows)}."
            )
    blocks = []
    for i, sentence in enumerate(sentences):
        if heads is not None or relations is not None:
            sentence = sentence.with_tree(
                heads=None if heads is None else heads[i],
                relations=None if relations is None else relations[i],
            )
        block = sentence.to_conllu()
        if i > 0:
            block = block.lstrip("\ufeff")
        if i + 1 < len(sentences):
            # The last sentence of a file may lack its empty line; in the middle of
            # another file it needs one.
            newline = "\r\n" if "\r\n" in block else "\n"
            while not re.search(r"\n\r?\n$", block):
                block += newline
        blocks.append(block)
    data = "".join(blocks).encode("utf-8")
    if path.endswith(".gz"):
        data = gzip.compress(data, mtime=0)
    write_bytes(path, data)


def read_tokens(stream: TextIO) -> Iterator[Sentence]:
    """Yields a sentence for each line of words separated by blanks; skips empty lines.

    Example:

        >>> import io
        >>> from tfnes.datasets import read_tokens
        >>> [s.forms for s in read_tokens(io.StringIO("a cat sleeps .\\n"))]
        [('a', 'cat', 'sleeps', '.')]
    """
    path = getattr(stream, "name", "<stream>")
    lines = iter(stream)
    number = 0
    while True:
        number += 1
        try:
            line = next(lines)
        except StopIteration:
            return
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}, line {number} or later: not UTF-8 ({error.reason}). Convert "
                "the text to UTF-8 first."
            ) from None
        # Not str.split(): a no-break space belongs to its word.
        forms = tuple(re.split(r"[ \t\r\n]+", line.strip(" \t\r\n\ufeff")))
        if forms != ("",):
            yield Sentence(forms, ("_",) * len(forms), path=str(path), line=number)
