"""The record of one sentence that all readers, writers and providers share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tfnes.errors import DataError


@dataclasses.dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of a treebank, or of plain text.

    Only syntactic words (CoNLL-U lines with an integer ID) are counted; multiword
    tokens and empty nodes live in `source` and come back when the sentence is written.

    Attributes:
      forms: the n words.
      upos: n universal part-of-speech tags; `_` where unknown.
      heads: n heads, 1 ... n or 0 for the root; None without a tree.
      relations: n dependency relations; None without a tree.
      sent_id: the `# sent_id` comment, or None.
      source: the CoNLL-U lines that the sentence was read from, line ends and the empty
        line after them included; None for a sentence that was not read from a file.
      path: the file, for messages.
      line: the number of the first line of the sentence in that file.

    Example:

        >>> from tfnes.datasets import Sentence
        >>> cat = Sentence(("a", "cat"), ("DET", "NOUN"), (2, 0), ("det", "root"))
        >>> print(cat.with_tree(heads=(0, 1)).to_conllu(), end="")
        1	a	_	DET	_	_	0	det	_	_
        2	cat	_	NOUN	_	_	1	root	_	_
        <BLANKLINE>
    """

    forms: tuple[str, ...]
    upos: tuple[str, ...]
    heads: tuple[int, ...] | None = None
    relations: tuple[str, ...] | None = None
    sent_id: str | None = None
    source: str | None = None
    path: str | None = None
    line: int = 0

    def __len__(self) -> int:
        return len(self.forms)

    @property
    def name(self) -> str:
        """What to call the sentence in a message: its `sent_id`, or its place."""
        return self.sent_id or f"{self.path or 'sentence'}:{self.line}"

    def with_tree(
        self,
        *,
        heads: Sequence[int] | None = None,
        relations: Sequence[str] | None = None,
    ) -> Sentence:
        """Returns the sentence with other heads and relations, all else the same.

        Args:
          heads: at least n integers, of which the first n are taken (a padded row of a
            prediction will do); None: unchanged.
          relations: at least n names, likewise.

        Raises:
          DataError: if there are fewer than n, or a head is not in 0 ... n.
        """
        n = len(self)
        changes: dict[str, Any] = {}
        if heads is not None:
            changes["heads"] = tuple(int(head) for head in heads[:n])
            wrong = [head for head in changes["heads"] if not 0 <= head <= n]
            if wrong:
                raise DataError(
                    f"{self.name}: heads must be in 0 ... {n}. Received: {wrong[0]}."
                )
        if relations is not None:
            changes["relations"] = tuple(str(name) for name in relations[:n])
        for field, values in changes.items():
            if len(values) != n:
                raise DataError(
                    f"{self.name}: {n} {field} were expected, one for each word. "
                    f"Received: {len(values)}."
                )
        changed = dataclasses.replace(self, **changes)
        if self.source is not None:
            source = changed._rewritten(self.source)
            changed = dataclasses.replace(changed, source=source)
        return changed

    def to_conllu(self) -> str:
        """Returns the sentence as a CoNLL-U block, the empty line after it included."""
        if self.source is not None:
            return self.source
        lines = [f"# sent_id = {self.sent_id}\n"] if self.sent_id else []
        heads = self.heads or ("_",) * len(self)
        relations = self.relations or ("_",) * len(self)
        for i, form in enumerate(self.forms):
            lines.append(
                f"{i + 1}\t{form}\t_\t{self.upos[i]}\t_\t_\t{heads[i]}\t{relations[i]}"
                "\t_\t_\n"
            )
        return "".join(lines) + "\n"

    @property
    def other_forms(self) -> tuple[str, ...]:
        """Forms of the multiword tokens and the empty nodes, which are not words."""
        if self.source is None:
            return ()
        columns = (line.split("\t", 2) for line in self.source.split("\n"))
        return tuple(c[1] for c in columns if len(c) == 3 and not c[0].isdecimal())

    def _rewritten(self, source: str) -> str:
        """Puts heads and relations into CoNLL-U lines; every other byte stays."""
        lines = source.split("\n")
        word = 0
        for i, line in enumerate(lines):
            columns = line.split("\t")
            if len(columns) == 10 and columns[0].lstrip("\ufeff").isdecimal():
                if self.heads is not None:
                    columns[6] = str(self.heads[word])
                if self.relations is not None:
                    columns[7] = self.relations[word]
                lines[i] = "\t".join(columns)
                word += 1
        return "\n".join(lines)
