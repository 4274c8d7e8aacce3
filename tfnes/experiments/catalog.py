"""What is registered, and the configurations, one line each: the output of `--list`."""

from __future__ import annotations

import importlib
import inspect

from tfnes import registration
from tfnes.experiments import configuration

PACKAGES = (
    "structures",
    "estimators",
    "models",
    "datasets",
    "metrics",
    "callbacks",
    "experiments.phase",
    "experiments.training",
    "experiments.saved_model",
    "experiments.training",
)


def register_all() -> None:
    """Imports everything of this library that a gin file may name."""
    for package in PACKAGES:
        importlib.import_module(f"tfnes.{package}")
    configuration.register_keras()


def catalog() -> str:
    """Returns all registered classes by kind, and all configurations."""
    register_all()
    lines = []
    for kind in registration.KINDS:
        classes = registration.registered(kind)
        if classes:
            lines += ["", f"{kind}s"]
            width = max(map(len, classes))
            lines += [
                f"  {name:<{width}}  {_summary(c)}" for name, c in classes.items()
            ]
    configs = configuration.list_configs()
    if configs:
        lines += ["", "configurations"]
        width = max(len(path.as_posix()) for path, _ in configs)
        lines += [f"  {path.as_posix():<{width}}  {text}" for path, text in configs]
    return "\n".join(lines[1:])


def _summary(cls: type) -> str:
    return (inspect.getdoc(cls) or "").split("\n", 1)[0]
