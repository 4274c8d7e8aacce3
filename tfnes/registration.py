"""One decorator that makes a class known to Keras serialisation and to gin.

A registered class is restored by `keras.saving.load_model` without
`custom_objects`, and can be named in gin files (`@NES()`, `NES.sigma = 0.1`).

Example:

    >>> import tfnes
    >>> @tfnes.register("structure")
    ... class Coin(tfnes.structures.Categorical):
    ...     '''A category of two.'''
    >>> "Coin" in tfnes.registered("structure")
    True
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import gin
import keras

KINDS = (
    "structure",
    "estimator",
    "model",
    "dataset",
    "metric",
    "callback",
    "experiment",
    "layer",
    "schedule",
    "noise",
    "shaping",
    "search_distribution",
)

_REGISTRY: dict[str, dict[str, type]] = {kind: {} for kind in KINDS}

T = TypeVar("T", bound=type)


def register(kind: str, *, package: str = "tfnes") -> Callable[[T], T]:
    """Returns a decorator that registers a class under its own name.

    Args:
      kind: one of `KINDS`; used by `--list` and by the conformance tests.
      package: Keras' serialisation package, to keep names of several authors apart.

    Raises:
      ValueError: if `kind` is unknown, or another class has the name already.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}. Received: {kind!r}.")

    def decorate(cls: T) -> T:
        known = _REGISTRY[kind].get(cls.__name__)
        if known is not None and (known.__module__, known.__qualname__) != (
            cls.__module__,
            cls.__qualname__,
        ):
            raise ValueError(
                f"{kind} {cls.__name__!r} is already registered by "
                f"{known.__module__}. Rename the one in {cls.__module__}."
            )
        keras.saving.register_keras_serializable(package=package)(cls)
        if known is None:
            gin.register(cls, module=package)
        _REGISTRY[kind][cls.__name__] = cls
        return cls

    return decorate


def registered(kind: str) -> dict[str, type]:
    """Returns the classes registered under `kind`, by name, sorted."""
    return dict(sorted(_REGISTRY[kind].items()))
