"""Whose rows a tensor holds, said by the model to whoever evaluates it.

Keras layers see rows. An estimator that treats examples differently (noise of its own
for each) takes the first axis of a layer's input for the example axis, as Keras does.
A model that calls a layer on anything else says so:

    with example_rows(None):            # rows that belong to no example
        logits = self.decoder(codes)
    with example_rows(rows, times):     # [R] int32, of each row
        hidden = self.dense(packed)

Outside of such an estimator this does nothing. `examples_differ()` tells whether it is
at work, where a model would evaluate what examples have in common only once.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from tfnes.typing import Tensor

LEADING = "leading"
"""The first axis is the example axis."""

_STATE = threading.local()


@contextlib.contextmanager
def example_rows(
    rows: Tensor | None, positions: Tensor | None = None
) -> Iterator[None]:
    """Declares the rows of what layers are called on.

    Args:
      rows: `[R]` int32, the example of each row; None: the rows are the same for all
        examples.
      positions: `[R]` int32, the place of each row within its example, which keys its
        noise; None: the place among the rows since the example's first.
    """
    before = current_rows(), current_positions()
    _STATE.rows, _STATE.positions = rows, positions
    try:
        yield
    finally:
        _STATE.rows, _STATE.positions = before


def current_rows() -> Any:
    """Returns what holds just now: `LEADING`, None, or the `[R]` examples."""
    return getattr(_STATE, "rows", LEADING)


def current_positions() -> Tensor | None:
    """Returns the `[R]` positions that were declared, or None."""
    return getattr(_STATE, "positions", None)


@contextlib.contextmanager
def differing_examples() -> Iterator[None]:
    """Declares that layers compute something else for each example."""
    before = examples_differ()
    _STATE.differ = True
    try:
        yield
    finally:
        _STATE.differ = before


def examples_differ() -> bool:
    """Returns whether layers just now compute something else for each example."""
    return getattr(_STATE, "differ", False)
