"""Whose rows a tensor holds, said by the model to whoever evaluates it.

Keras layers see rows. An estimator that treats examples differently (noise of its own
for each) takes the first axis of a layer's input for the example axis, as Keras does.
A model that calls a layer on anything else says so:

    with example_rows(None):            # rows that belong to no example
        logits = self.decoder(codes)
    with example_rows(rows):            # [R] int32, the example of each row
        hidden = self.dense(packed)

Outside of such an estimator this does nothing.
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
def example_rows(rows: Tensor | None) -> Iterator[None]:
    """Declares the rows of what layers are called on.

    Args:
      rows: `[R]` int32, the example of each row; None: the rows are the same for all
        examples.
    """
    before = current_rows()
    _STATE.rows = rows
    try:
        yield
    finally:
        _STATE.rows = before


def current_rows() -> Any:
    """Returns what holds just now: `LEADING`, None, or the `[R]` examples."""
    return getattr(_STATE, "rows", LEADING)
