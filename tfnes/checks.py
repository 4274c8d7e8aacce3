"""Checks of arguments: each returns a plain Python value, or says what is wrong.

NumPy scalars and arrays without an axis count as the numbers they hold. A boolean is no
number, and a number is no boolean: what looks like one is more often a slip.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from tfnes.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

MAX_INT32 = 2**31 - 1
_MAX_FLOAT32 = float.fromhex("0x1.fffffep+127")


def check_integer(
    name: str,
    value: Any,
    *,
    minimum: int | None = None,
    maximum: int = MAX_INT32,
    hint: str = "",
) -> int:
    """Returns `value` as an `int` within the bounds.

    Args:
      name: of the argument, as the message shall say it: `NES.rank`.
      value: what came.
      minimum: the least that is allowed; None: any.
      maximum: the greatest that is allowed, by default what TensorFlow can count.
      hint: a sentence on what to do, at the message's end.

    Raises:
      ConfigurationError: if it is not an integer, or out of bounds.

    Example:

        >>> import numpy as np
        >>> from tfnes.checks import check_integer
        >>> check_integer("NES.rank", np.int64(2), minimum=1)
        2
        >>> check_integer("NES.rank", 0, minimum=1)
        Traceback (most recent call last):
        tfnes.errors.ConfigurationError: NES.rank must be an integer, at least 1.
        Received: 0.
    """
    plain = _plain(value)
    good = isinstance(plain, int) and not isinstance(plain, bool)
    if not good or not _within(plain, minimum, maximum):
        usual = maximum == MAX_INT32 and not (good and plain > maximum)
        bounds = _bounds(minimum, None if usual else maximum)
        _refuse(name, f"an integer{bounds}", value, hint)
    return plain


def check_real(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    minimum: float | None = None,
    below: float | None = None,
    maximum: float | None = None,
    hint: str = "",
) -> float:
    """Returns `value` as a `float` within the bounds, finite in float32 too.

    Args:
      name: of the argument.
      value: what came.
      above: what it must exceed; None: anything.
      minimum: the least that is allowed; None: any.
      below: what it must be less than; None: anything.
      maximum: the greatest that is allowed; None: any.
      hint: a sentence on what to do, at the message's end.

    Raises:
      ConfigurationError: if it is not a finite number, or out of bounds.

    Example:

        >>> from tfnes.checks import check_real
        >>> check_real("NES.sigma", float("nan"), above=0)
        Traceback (most recent call last):
        tfnes.errors.ConfigurationError: NES.sigma must be a finite number, above 0.
        Received: nan.
    """
    plain = _plain(value)
    good = isinstance(plain, int | float) and not isinstance(plain, bool)
    good = good and abs(plain) <= _MAX_FLOAT32
    if (
        not good
        or not _within(plain, minimum, maximum)
        or (above is not None and plain <= above)
        or (below is not None and plain >= below)
    ):
        bounds = _bounds(minimum, maximum, above, below)
        _refuse(name, f"a finite number{bounds}", value, hint)
    return float(plain)


def check_seed(name: str, value: Any) -> int:
    """Returns `value` as an `int` of 64 bits with a sign.

    Raises:
      ConfigurationError: if it is anything else.
    """
    return check_integer(name, value, minimum=-(2**63), maximum=2**63 - 1)


def check_flag(name: str, value: Any) -> bool:
    """Returns `value` as a `bool`.

    Raises:
      ConfigurationError: if it is anything but True or False.
    """
    plain = _plain(value)
    if not isinstance(plain, bool):
        _refuse(name, "True or False", value)
    return plain


def check_text(name: str, value: Any, *, hint: str = "") -> str:
    """Returns `value`, a string that is not empty.

    Raises:
      ConfigurationError: if it is anything else.
    """
    if not isinstance(value, str) or not value:
        _refuse(name, "a string that is not empty", value, hint)
    return str(value)


def check_choice(name: str, value: Any, choices: Collection[str], *, hint="") -> str:
    """Returns `value`, which is one of the strings `choices`.

    Raises:
      ConfigurationError: if it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        _refuse(name, f"one of {tuple(choices)}", value, hint)
    return str(value)


def check_path(name: str, value: Any) -> str | os.PathLike:
    """Returns `value`, which names a file or a folder.

    Raises:
      ConfigurationError: if it is neither a string nor a path, or empty.
    """
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        _refuse(name, "a path: a string or a pathlib.Path", value)
    return value


def check_function(name: str, value: T, *, expected: str = "a function") -> T:
    """Returns `value`, which can be called.

    Raises:
      ConfigurationError: if it cannot.
    """
    if not callable(value):
        _refuse(name, expected, value)
    return value


def check_instance(
    name: str, value: T, kind: type, *, expected: str, hint: str = ""
) -> T:
    """Returns `value`, an object of class `kind`.

    Args:
      name: of the argument.
      value: what came.
      kind: its class.
      expected: what it is, in words: `a Structure`.
      hint: a sentence on what to do, at the message's end.

    Raises:
      ConfigurationError: if it is of another class.
    """
    if not isinstance(value, kind):
        _refuse(name, expected, value, hint)
    return value


def check_sequence(
    name: str, values: Any, check: Callable[..., T], **kwargs: Any
) -> tuple[T, ...]:
    """Returns each of `values` as `check(name, value, **kwargs)` returns it.

    Raises:
      ConfigurationError: if `values` is no list or tuple, or one of them is wrong.

    Example:

        >>> from tfnes.checks import check_integer, check_sequence
        >>> check_sequence("NVIL.hidden_units", [8, 4], check_integer, minimum=1)
        (8, 4)
    """
    listed = isinstance(values, Sequence) and not isinstance(values, str | bytes)
    if not listed and getattr(values, "ndim", None) != 1:
        _refuse(name, "a list or a tuple", values)
    return tuple(check(f"{name}[{i}]", v, **kwargs) for i, v in enumerate(values))


def check_optional(
    name: str, value: Any, check: Callable[..., T], **kwargs: Any
) -> T | None:
    """Returns None for None, and else what `check(name, value, **kwargs)` returns.

    Raises:
      ConfigurationError: as `check` does.
    """
    return None if value is None else check(name, value, **kwargs)


def check_entries(name: str, good: np.ndarray, rule: str) -> None:
    """Raises a `DataError` that names the first entry of an array that is not good.

    Args:
      name: of the array, after the file's where it has one.
      good: bool, of the array's shape.
      rule: what the entries must be: `finite`.
    """
    if not good.all():
        first = zip(*(axis[:1] for axis in (~good).nonzero()), strict=True)
        place = ", ".join(map(str, *first))
        raise DataError(
            f"{name}[{place}] must be {rule}; {(~good).sum():,} of "
            f"{good.size:,} entries are not. Mend or drop these examples."
        )


def _plain(value: Any) -> Any:
    """Returns the Python number of a NumPy scalar or an array without an axis."""
    # NumPy is not imported for it: what a program does first needs these checks.
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return value


def _within(value: float, minimum: float | None, maximum: float | None) -> bool:
    return (minimum is None or value >= minimum) and (
        maximum is None or value <= maximum
    )


def _bounds(
    minimum: float | None,
    maximum: float | None,
    above: float | None = None,
    below: float | None = None,
) -> str:
    said = (
        ("at least", minimum),
        ("above", above),
        ("at most", maximum),
        ("below", below),
    )
    parts = [f"{words} {bound}" for words, bound in said if bound is not None]
    return "".join([", ", " and ".join(parts)]) if parts else ""


def _refuse(name: str, expected: str, value: Any, hint: str = "") -> NoReturn:
    shown = repr(value)
    if len(shown) > 200:
        shown = f"{shown[:200]} ..."
    hint = f" {hint}" if hint else ""
    raise ConfigurationError(f"{name} must be {expected}. Received: {shown}.{hint}")
