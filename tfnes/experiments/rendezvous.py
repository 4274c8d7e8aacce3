"""Waiting for the other workers of a run before TensorFlow does.

TensorFlow waits for an hour, outside of Python, where not even Ctrl-C is heard, and
does not say for whom. So the workers first find each other here, by plain connections
to the ports that TensorFlow will use.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterator, Sequence

from tfnes.errors import ConfigurationError, WorkerLostError

_HELLO = b"tfnes worker %6d"
_READY = b"!"
_PAUSE = 0.1  # seconds between two looks


def wait_for_workers(addresses: Sequence[str], index: int, *, seconds: float) -> None:
    """Returns once all workers have come here.

    Each connects to all others. A worker goes on when it has reached all and all have
    reached it, so that nobody needs its port any more; it says so to those who wait. A
    worker that ends while others wait, and starts again, is waited for again.

    Args:
      addresses: `host:port` of all workers.
      index: of this one.
      seconds: how long to wait.

    Raises:
      ConfigurationError: if the port of this worker cannot be used.
      WorkerLostError: if a worker does not come in time; it is named.
    """
    end = time.monotonic() + seconds
    others = [i for i in range(len(addresses)) if i != index]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_listen(addresses[index]))
        reached: dict[int, socket.socket] = {}
        came: dict[int, socket.socket] = {}
        ready: set[int] = set()
        while True:
            for i in others:
                if i not in reached and i not in ready:
                    for connection in _connect(addresses[i], index):
                        reached[i] = stack.enter_context(connection)
            for connection, i in _accept(server):
                came[i] = stack.enter_context(connection)
            for found in (reached, came):
                for i, connection in list(found.items()):
                    said = _hear(connection)
                    if said == _READY:
                        ready.add(i)
                    elif said == b"":  # it has ended, or gone on
                        del found[i]
            there = ready | (reached.keys() & came.keys())
            missing = [i for i in others if i not in there]
            if not missing:
                for connection in came.values():
                    with contextlib.suppress(OSError):
                        connection.sendall(_READY)
                return
            if time.monotonic() > end:
                names = ", ".join(f"worker {i} ({addresses[i]})" for i in missing)
                raise WorkerLostError(
                    f"Still missing after {seconds:g} s (--worker_timeout): {names}. "
                    "Expected that all workers of TF_CONFIG are started, and can reach "
                    "each other's ports. See their outputs, then start all of them "
                    "again."
                )
            time.sleep(_PAUSE)


def _listen(address: str) -> socket.socket:
    port = address.rpartition(":")[2]
    try:
        server = socket.create_server(("", int(port)))
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"TF_CONFIG says that this worker is at {address}, and it cannot listen "
            f"there: {error}. Give a free port, or wait for the process that has it."
        ) from error
    server.setblocking(False)
    return server


def _connect(address: str, index: int) -> Iterator[socket.socket]:
    """Yields a connection, or nothing where nobody listens yet."""
    host, _, port = address.rpartition(":")
    try:
        connection = socket.create_connection((host, int(port)), timeout=1)
    except (OSError, ValueError, OverflowError):
        return
    try:
        connection.sendall(_HELLO % index)
    except OSError:
        connection.close()
        return
    connection.setblocking(False)
    yield connection


def _accept(server: socket.socket) -> Iterator[tuple[socket.socket, int]]:
    """Yields the connections of workers that have come, with their numbers."""
    while select.select([server], [], [], 0)[0]:
        try:
            connection, _ = server.accept()
        except OSError:
            continue
        try:
            connection.settimeout(1)
            hello = connection.recv(len(_HELLO % 0), socket.MSG_WAITALL)
            index = int(hello.removeprefix(_HELLO[:13]))
        except (OSError, ValueError):
            connection.close()  # not one of us
            continue
        connection.setblocking(False)
        yield connection, index


def _hear(connection: socket.socket) -> bytes | None:
    """Returns what was said: a byte, b"" where the other has gone, None for nothing."""
    try:
        return connection.recv(1)
    except BlockingIOError:
        return None
    except OSError:
        return b""
