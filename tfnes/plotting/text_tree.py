"""A dependency tree in lines of text, for logs and terminals."""

from __future__ import annotations

from collections.abc import Sequence


def format_dependency_tree(
    forms: Sequence[str],
    heads: Sequence[int],
    *,
    relations: Sequence[str] | None = None,
    gold_heads: Sequence[int] | None = None,
) -> str:
    """Returns the tree with one word a line, each below its head, dependents indented.

    With `gold_heads`, a word whose head is wrong is marked with its gold head.

    Args:
      forms: the n words.
      heads: head of each word, 0 the root.
      relations: name of each arc, or None.
      gold_heads: heads of the gold tree, or None.

    Example:

        >>> from tfnes import plotting
        >>> print(plotting.format_dependency_tree(
        ...     ["a", "cat", "sleeps"], [2, 3, 0], relations=["det", "nsubj", "root"],
        ...     gold_heads=[3, 3, 0]))
        sleeps (root)
        └─ cat (nsubj)
           └─ a (det)   ✗ gold head: sleeps
    """
    children: dict[int, list[int]] = {}
    for word, head in enumerate(heads, start=1):
        children.setdefault(int(head), []).append(word)
    lines: list[str] = []

    def label(word: int) -> str:
        text = forms[word - 1]
        if relations is not None:
            text += f" ({relations[word - 1]})"
        if gold_heads is not None and int(gold_heads[word - 1]) != int(heads[word - 1]):
            gold = int(gold_heads[word - 1])
            text += f"   ✗ gold head: {forms[gold - 1] if gold else 'the root'}"
        return text

    # An explicit stack: a chain of hundreds of words is deeper than Python likes.
    stack = [(word, "", "", "") for word in reversed(children.get(0, []))]
    while stack:
        word, before, mark, after = stack.pop()
        lines.append(before + mark + label(word))
        below = children.get(word, [])
        for position, child in reversed(list(enumerate(below))):
            last = position == len(below) - 1
            stack.append(
                (
                    child,
                    before + after,
                    "└─ " if last else "├─ ",
                    "   " if last else "│  ",
                )
            )
    return "\n".join(lines)
