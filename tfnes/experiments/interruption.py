"""Stops a run at the end of an update when a signal asks for it."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator

LOGGER = logging.getLogger("tfnes")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """The run was stopped by a signal, after its state was saved.

    Attributes:
      signal_number: the signal.
    """

    def __init__(self, signal_number: int):
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number


class StopRequest:
    """Remembers that a signal asked to stop.

    Attributes:
      signal_number: the signal, or None.
    """

    def __init__(self):
        self.signal_number: int | None = None

    def receive(self, number: int, frame: object) -> None:
        """The signal handler: the first signal asks, the second does not wait."""
        del frame
        if self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = number
        LOGGER.warning(
            "%s: stopping after this update; once more to stop at once.",
            signal.Signals(number).name,
        )

    def check(self) -> None:
        """Raises `Interrupted` if a signal came."""
        if self.signal_number is not None:
            raise Interrupted(self.signal_number)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Handles SIGINT and SIGTERM inside the block (in the main thread only)."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {number: signal.signal(number, request.receive) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
