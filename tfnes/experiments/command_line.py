"""Flags, exit codes and quiet start-up of the programs, without TensorFlow.

A program parses its flags first, so that `--help` answers at once, and only then
imports what it needs.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence

from tfnes.errors import TfnesError

LOGGER = logging.getLogger("tfnes")

STRATEGIES = ("none", "mirrored", "multi_worker")


def new_parser(
    *, program: str, description: str, epilog: str = "", usage: str | None = None
) -> argparse.ArgumentParser:
    """Returns an argument parser in the style of all programs here."""
    return argparse.ArgumentParser(
        prog=program,
        usage=usage,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_distribution_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--strategy`, `--num_devices` and `--worker_timeout`."""
    parser.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default="none",
        help="tf.distribute strategy (default: none)",
    )
    parser.add_argument(
        "--num_devices",
        type=_positive_integer,
        metavar="N",
        help="replicas of --strategy=mirrored; on a machine without GPUs, N logical "
        "CPU devices",
    )
    parser.add_argument(
        "--worker_timeout",
        type=_positive_integer,
        default=600,
        metavar="SECONDS",
        help="how long a worker of --strategy=multi_worker waits for the others to "
        "start (default: 600)",
    )


def print_list(lines: Mapping[str, str]) -> None:
    """Prints names and what they are, one line each, in the style of all `--list`."""
    width = max(map(len, lines), default=0)
    for name, text in lines.items():
        print(f"{name:<{width}}  {text}")


def split_gin_arguments(arguments: Sequence[str]) -> list[str]:
    """Rewrites `--gin.NAME=VALUE` as `--gin_param=NAME=VALUE`.

    Example:

        >>> split_gin_arguments(["--gin.NES.sigma=0.1", "--smoke"])
        ['--gin_param=NES.sigma=0.1', '--smoke']
    """
    return [
        "--gin_param=" + a.removeprefix("--gin.") if a.startswith("--gin.") else a
        for a in arguments
    ]


def import_tensorflow() -> None:
    """Imports TensorFlow without the notes that it writes to standard error.

    The notes come from its C++ libraries, and no setting turns them off; so the file
    itself is pointed elsewhere for the time of the import.
    """
    sys.stderr.flush()
    standard_error = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            importlib.import_module("tensorflow")
        except BaseException:
            notes.seek(0)
            os.write(standard_error, notes.read())
            raise
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)


def be_quiet() -> None:
    """Silences TensorFlow's start-up noise; to be called before it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(?!tfnes)")


def show_log() -> None:
    """Sends this library's log to standard error, message alone."""
    if not any(isinstance(handler, _Handler) for handler in LOGGER.handlers):
        handler = _Handler()
        handler.setFormatter(_Formatter())
        LOGGER.addHandler(handler)
        LOGGER.propagate = False
    LOGGER.setLevel(logging.INFO)


def run_program(program: Callable[[], int | None], *, debug: bool = False) -> int:
    """Runs a program's body; returns the exit status.

    An error that this library raises on purpose is printed as its message alone, and
    gives its own `exit_code`; any other error is a bug and shows its traceback.

    Args:
      program: the body; may return an exit status.
      debug: whether deliberate errors show a traceback too.
    """
    be_quiet()
    show_log()
    try:
        return program() or 0
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read our output has left; flushing at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        cause = deliberate_cause(error)
        if cause is None or debug:
            traceback.print_exc()
            return 1
        print(f"Error: {cause}", file=sys.stderr)
        return cause.exit_code


def deliberate_cause(error: BaseException | None) -> TfnesError | None:
    """Returns the `TfnesError` that `error` is, or was raised from, if any.

    gin wraps what is raised in a configurable, to add where; the one inside is meant.
    """
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        inner = error.__cause__ or error.__context__
        if isinstance(error, TfnesError):
            wrapped = isinstance(inner, TfnesError) and isinstance(error, type(inner))
            if not (wrapped and str(error).startswith(str(inner))):
                return error
        error = inner
    return None


class _Handler(logging.StreamHandler):
    """Writes to what is standard error at the time of writing."""

    def __init__(self):
        logging.Handler.__init__(self)

    @property
    def stream(self):
        return sys.stderr


class _Formatter(logging.Formatter):
    """The message alone; warnings and errors say that they are."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.levelno >= logging.WARNING:
            return f"{record.levelname.capitalize()}: {message}"
        return message


def _positive_integer(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return value
