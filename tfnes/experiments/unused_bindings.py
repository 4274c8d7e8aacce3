"""Bindings that had no effect: most often a name or a scope that is misspelt."""

from __future__ import annotations

import ast
import contextlib
import logging
import re
from typing import Any

import gin

from tfnes.experiments import configuration

LOGGER = logging.getLogger("tfnes")

_BINDING = re.compile(r"^([\w./]+)\s*=", re.MULTILINE)
_MACRO = re.compile(r"^([A-Z][A-Z_]*) = (.+)$", re.MULTILINE)


def unused_bindings() -> list[str]:
    """Returns the bindings and macros that nothing has used up to now.

    A binding of scope `a` also holds in the scopes `a/b`, and one without scope in all.
    """
    used = set()
    for name in _BINDING.findall(gin.operative_config_str()):
        *scopes, last = name.split("/")
        used.update("/".join([*scopes[:i], last]) for i in range(len(scopes) + 1))
    return [name for name in _BINDING.findall(gin.config_str()) if name not in used]


def warn_of_unused_bindings() -> None:
    """Logs a warning that names every binding which nothing has used.

    Macros that have a value which the configurations of tfnes give them are no mistake:
    a data set's file offers what some estimators need and others do not.
    """
    names = unused_bindings()
    if names:
        offered = _offered_macros()
        names = [
            name
            for name in names
            if name not in offered
            or gin.query_parameter(f"{name}/gin.macro.value") not in offered[name]
        ]
    if names:
        LOGGER.warning(
            "these gin bindings had no effect, because nothing used them: %s. "
            "Check the names of their scopes and macros.",
            ", ".join(names),
        )


def _offered_macros() -> dict[str, list[Any]]:
    """Returns the values of each macro in the configurations that come with tfnes."""
    offered: dict[str, list[Any]] = {}
    for path, _ in configuration.list_configs():
        text = configuration.find_config(path.as_posix()).read_text(encoding="utf-8")
        for name, value in _MACRO.findall(text):
            with contextlib.suppress(ValueError, SyntaxError):  # %ANOTHER_MACRO
                offered.setdefault(name, []).append(ast.literal_eval(value))
    return offered
