"""The errors that `tfnes` raises on purpose.

Each derives from `TfnesError` and from the builtin that a caller would expect, so
`except ValueError` works too. A message says what was expected, what came, where,
and what to do. The command line prints the message alone and exits with
`exit_code`.
"""

from __future__ import annotations


class TfnesError(Exception):
    """Base of every error that this library raises on purpose."""

    exit_code = 1


class ConfigurationError(TfnesError, ValueError):
    """A setting (argument, gin binding, flag) that cannot be used."""

    exit_code = 2


class DataError(TfnesError, ValueError):
    """A file or a tensor whose content is wrong; the message names the place."""

    exit_code = 3


class MissingDataError(TfnesError, FileNotFoundError):
    """A file that is not there; the message says what to put where."""

    exit_code = 3


class RunDirectoryError(TfnesError, ValueError):
    """A run directory that cannot be used: another configuration, a damaged file."""

    exit_code = 4


class UnsupportedStructureError(TfnesError, TypeError):
    """A structure lacks an ability (marginals, sampling, ...) that is needed."""

    exit_code = 2


class NonFiniteError(TfnesError, ArithmeticError):
    """NaN or infinity where training cannot go on."""

    exit_code = 5


class WorkerLostError(TfnesError, ConnectionError):
    """Another process of a run on several workers is gone."""

    exit_code = 6


class StorageError(TfnesError, OSError):
    """A file that cannot be written: a full disk, no permission, a folder gone."""

    exit_code = 7
