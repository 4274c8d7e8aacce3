"""Parsing and checking of CoNLL-U text.

References:
  CoNLL-U format, https://universaldependencies.org/format.html
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import NoReturn

from tfnes.datasets.sentence import Sentence
from tfnes.errors import DataError

_COLUMNS = (
    "ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC",
)  # fmt: skip
_RANGE = re.compile(r"([1-9][0-9]*)-([1-9][0-9]*)")
_EMPTY_NODE = re.compile(r"(0|[1-9][0-9]*)\.([1-9][0-9]*)")
_EMPTY_LINES = ("\n", "\r\n", "\ufeff", "\ufeff\n", "\ufeff\r\n")
_IDS = [str(i) for i in range(1, 512)]


def parse_conllu(
    text: str, *, path: str = "<text>", gold: bool = True
) -> list[Sentence]:
    """Returns the sentences of CoNLL-U text.

    Args:
      text: the content of a file.
      path: what to call it in messages.
      gold: whether every word must have a head; where False, a sentence whose heads are
        all `_` is read without a tree.

    Raises:
      DataError: at the first fault; the message names the place and the remedy.

    Example:

        >>> from tfnes.datasets import parse_conllu
        >>> text = "\\t".join("1 cat _ NOUN _ _ 0 root _ _".split())
        >>> parse_conllu(text)[0].forms
        ('cat',)
    """
    sentences = []
    first_lines: dict[str, int] = {}
    for line_number, lines in _blocks(text):
        sentence = _parse_block(lines, path, line_number, gold)
        if sentence.sent_id is not None:
            first = first_lines.setdefault(sentence.sent_id, sentence.line)
            if first != sentence.line:
                _fail(
                    path, sentence.line, sentence.sent_id,
                    f"this sent_id was used in line {first} already",
                    "Every sentence needs a sent_id of its own (or none).",
                )  # fmt: skip
        sentences.append(sentence)
    if not sentences:
        raise DataError(
            f"{path}: the file holds no sentence. Expected CoNLL-U: ten columns "
            "separated by tabs, and an empty line after each sentence."
        )
    return sentences


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the number of the first line and the lines, line ends kept, of a sentence.

    The empty lines around it are included: the concatenation is `text`.
    """
    block: list[str] = []
    first, ended, filled = 1, False, False
    for number, line in enumerate(_lines(text), 1):
        if line in _EMPTY_LINES:
            ended = filled
        elif ended:
            yield first, block
            block, first, ended = [], number, False
        else:
            filled = True
        block.append(line)
    if filled:
        yield first, block


def _lines(text: str) -> Iterator[str]:
    """Yields the lines, line ends kept, without holding all of them."""
    # Not str.splitlines(): it also splits at U+0085, U+2028 and others.
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def _parse_block(lines: list[str], path: str, first: int, gold: bool) -> Sentence:
    """Checks one sentence and makes the record of it."""
    sent_id = None
    rows: list[list[str]] = []
    numbers: list[int] = []
    others: list[tuple[int, int, list[str]]] = []
    begin = None
    for number, line in enumerate(lines, first):
        line = line.rstrip("\r\n")
        if number == 1:
            line = line.removeprefix("\ufeff")
        if not line:
            continue
        if begin is None:
            begin = number
        if line[0] == "#":
            if rows or others:
                _fail(
                    path, number, sent_id, "a comment stands between the words",
                    "Put comments before the first word, or an empty line before the "
                    "next sentence.",
                )  # fmt: skip
            if line.startswith("# sent_id"):
                sent_id = line.partition("=")[2].strip() or None
            continue
        columns = line.split("\t")
        if len(columns) != 10 or "" in columns:
            _fail_columns(path, number, sent_id, line, columns)
        if columns[0].isdecimal():
            rows.append(columns)
            numbers.append(number)
        else:
            others.append((number, len(rows), columns))
    if not rows:
        _fail(
            path, begin or first, sent_id, "there is no word in this block",
            "Remove the block, or the empty line that cuts it off its words.",
        )  # fmt: skip
    n = len(rows)
    ids, forms, _, upos, _, _, heads, relations, _, _ = zip(*rows, strict=True)
    if ids != tuple(_IDS[:n]) and ids != tuple(str(i + 1) for i in range(n)):
        _fail_ids(path, numbers, sent_id, ids)
    if others:
        _check_other_ids(path, sent_id, others, n)
    if not gold and all(head == "_" for head in heads):
        tree = None
    else:
        tree = _check_tree(path, numbers, sent_id, heads)
    # Equal strings are one: what a word takes is then a pointer for each column.
    return Sentence(
        forms=tuple(map(sys.intern, forms)),
        upos=tuple(map(sys.intern, upos)),
        heads=tree,
        relations=tuple(map(sys.intern, relations)) if tree else None,
        sent_id=sent_id,
        source="".join(lines),
        path=path,
        line=begin or first,
    )


def _check_tree(
    path: str, numbers: list[int], sent_id: str | None, columns: tuple[str, ...]
) -> tuple[int, ...]:
    """Returns the heads as integers if they make one rooted tree."""
    n = len(columns)
    heads = []
    for number, column in zip(numbers, columns, strict=True):
        if not (column.isascii() and column.isdecimal() and int(column) <= n):
            _fail(
                path, number, sent_id,
                f"HEAD (column 7) is {column!r}, but must be an integer in 0 ... {n}, "
                f"as the sentence has {n} words",
                "Correct the head, or read the file without trees if it has none."
                if column == "_" else "Correct the head.",
            )  # fmt: skip
        heads.append(int(column))
    roots = [i for i in range(n) if heads[i] == 0]
    if len(roots) > 1:
        places = ", ".join(str(numbers[i]) for i in roots)
        _fail(
            path, numbers[roots[1]], sent_id,
            f"{len(roots)} words have head 0 (lines {places})",
            "Exactly one word is the root; attach the others to it.",
        )  # fmt: skip
    # 0 is reached from every word: each walk ends at a word that is known to be safe.
    state = [1] + [0] * n
    for start in range(1, n + 1):
        path_up = []
        node = start
        while state[node] == 0:
            state[node] = 2
            path_up.append(node)
            node = heads[node - 1]
        if state[node] == 2:
            cycle = path_up[path_up.index(node) :]
            places = " -> ".join(str(i) for i in [*cycle, node])
            rootless = " and no word has head 0" if not roots else ""
            _fail(
                path, numbers[min(cycle) - 1], sent_id,
                f"the heads form a cycle ({places}){rootless}",
                "Every word must lead to the one word with head 0; correct one of "
                "these heads.",
            )  # fmt: skip
        for i in path_up:
            state[i] = 1
    return tuple(heads)


def _check_other_ids(
    path: str, sent_id: str | None, others: list[tuple[int, int, list[str]]], n: int
) -> None:
    """Checks multiword tokens (3-4) and empty nodes (3.1) against the words around."""
    covered, last_node = 0, (0, 0)
    for number, before, columns in others:
        token = _RANGE.fullmatch(columns[0])
        node = _EMPTY_NODE.fullmatch(columns[0])
        if token:
            start, end = map(int, token.groups())
            good = covered < start == before + 1 and start < end <= n
            covered = end
        elif node:
            place, count = map(int, node.groups())
            expected = last_node[1] + 1 if last_node[0] == place else 1
            good = place == before and count == expected
            last_node = (place, count)
        else:
            good = False
        if not good:
            _fail(
                path, number, sent_id,
                f"ID {columns[0]!r} does not fit here, after {before} of {n} words",
                "A multiword token I-J stands directly before word I; an empty node "
                "I.1, I.2, ... after word I.",
            )  # fmt: skip


def _fail_ids(
    path: str, numbers: list[int], sent_id: str | None, ids: tuple[str, ...]
) -> None:
    for i, (number, found) in enumerate(zip(numbers, ids, strict=True)):
        if found != str(i + 1):
            seen = found in ids[:i]
            remedy = "Number the words 1, 2, 3, ... in order."
            if found == "1":
                remedy = "Is the empty line before a new sentence missing? " + remedy
            _fail(
                path, number, sent_id,
                f"ID {found!r} {'occurs twice' if seen else 'is out of order'}; "
                f"{i + 1} was expected",
                remedy,
            )  # fmt: skip


def _fail_columns(
    path: str, number: int, sent_id: str | None, line: str, columns: list[str]
) -> NoReturn:
    if not line.strip():
        _fail(
            path, number, sent_id, "the line holds blanks only",
            "Sentences are separated by lines with nothing in them.",
        )  # fmt: skip
    if len(columns) != 10:
        hint = "Separate the columns by single tabs and write _ for what is unknown."
        if len(columns) == 1 and len(line.split()) == 10:
            hint = "They seem to be separated by blanks; replace these by tabs."
        count = f"{len(columns)} column" + "s" * (len(columns) > 1)
        _fail(path, number, sent_id, f"{count} instead of ten", hint)
    empty = columns.index("")
    _fail(
        path, number, sent_id, f"column {empty + 1} ({_COLUMNS[empty]}) is empty",
        "Write _ for what is unknown.",
    )  # fmt: skip


def _fail(
    path: str, number: int, sent_id: str | None, fault: str, remedy: str
) -> NoReturn:
    place = f"{path}, line {number}"
    if sent_id is not None:
        place += f", sent_id {sent_id}"
    raise DataError(f"{place}: {fault}. {remedy}")
