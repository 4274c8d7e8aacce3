"""Files that appear under their name only when they are complete.

A process that is killed while it writes leaves at most a file whose name begins with
`LEFTOVER`; what stood there before stays as it was.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
from collections.abc import Callable, Iterator
from typing import Any

from tfnes.errors import StorageError

LEFTOVER = ".writing-"
"""How the names of unfinished files begin."""


def write_atomically(path: str | os.PathLike, write: Callable[[str], Any]) -> None:
    """Calls `write` with a temporary name beside `path`, then gives it its name.

    The temporary name ends as `path` does, since some writers look at the suffix.
    Folders that are missing are made. A link stays one, and what it points to is
    written; a pipe or a device is written as it is.

    Raises:
      StorageError: if the file cannot be written; nothing has changed then.

    Example:

        >>> import pathlib, tempfile
        >>> from tfnes.files import write_atomically
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "new", "greeting.txt")
        ...     write_atomically(path, lambda name: pathlib.Path(name).write_text("hi"))
        ...     path.read_text()
        'hi'
    """
    path = pathlib.Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        with storage_errors(path):
            write(os.fspath(path))
        return
    path = pathlib.Path(os.path.realpath(path))
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        name = f"{LEFTOVER}{secrets.token_hex(4)}-{path.name}"
        temporary = os.fspath(path.with_name(name))
        # As private as the user's umask says; those of `tempfile` are always so.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            write(temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            pathlib.Path(temporary).unlink(missing_ok=True)
            raise


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a UTF-8 text file, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file, atomically."""
    write_atomically(path, lambda name: pathlib.Path(name).write_bytes(data))


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Deletes what a killed process left unfinished in a folder and below it."""
    for path in list(pathlib.Path(folder).rglob(f"{LEFTOVER}*")):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def storage_errors(
    path: str | os.PathLike, *, also: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Raises a `StorageError` where the system cannot write `path`.

    Args:
      path: what is being written.
      also: errors, beside `OSError`, that mean the same here.
    """
    kinds: tuple[type[Exception], ...] = (OSError, *also)
    try:
        yield
    except StorageError:
        raise
    except kinds as error:
        cause = getattr(error, "strerror", None) or str(error).strip().split("\n")[0]
        raise StorageError(
            f"{path} cannot be written: {cause}. What was there before is as it was. "
            "Make room or mend the permissions; a run then goes on by the same command."
        ) from error
