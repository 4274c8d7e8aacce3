"""gin files and bindings, strictly checked.

gin configures `tfnes.train` and the classes that are registered, nothing else. A name
that does not exist is an error with the nearest name that does; a macro without a value
is an error; a binding that nothing used is named in a warning (`unused_bindings`).
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import importlib.util  # gin uses it and does not import it  # noqa: F401
import inspect
import json
import logging
import os
import pathlib
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import gin

from tfnes.errors import ConfigurationError

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
_PLAIN = (bool, int, float, str)


def config_roots() -> list[pathlib.Path]:
    """Returns the folders that a path in a configuration may be relative to.

    The current directory, the repository (an editable installation), the package (an
    installed wheel, which holds `gin_configs`); and `gin_configs` of the latter two.
    """
    roots = [pathlib.Path.cwd()]
    for folder in (_PACKAGE.parent, _PACKAGE):
        if (folder / "gin_configs").is_dir():
            roots += [folder, folder / "gin_configs"]
    return roots


def find_config(name: str) -> pathlib.Path:
    """Returns the file of a configuration given by path; ".gin" may be left out.

    Raises:
      ConfigurationError: if there is none; the message names similar ones.
    """
    for root in config_roots():
        for path in (root / name, root / f"{name}.gin"):
            if path.is_file():
                return path
    near = difflib.get_close_matches(
        pathlib.Path(name).stem, [path.stem for path, _ in list_configs()], n=3
    )
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ConfigurationError(
        f"--gin_file={name}: there is no such file, neither in the current directory "
        f"nor among the configurations that come with tfnes.{hint} "
        "List them with --list."
    )


def list_configs() -> list[tuple[pathlib.Path, str]]:
    """Returns each configuration that comes with tfnes and its first comment line."""
    for root in (_PACKAGE.parent / "gin_configs", _PACKAGE / "gin_configs"):
        if root.is_dir():
            files = sorted(root.glob("**/*.gin"))
            return [
                (path.relative_to(root.parent), _first_comment(path)) for path in files
            ]
    return []


def register_keras() -> None:
    """Makes Keras' optimizers, schedules and callbacks known to gin."""
    import keras

    modules = {
        "keras.optimizers": (keras.optimizers, keras.optimizers.Optimizer),
        "keras.optimizers.schedules": (
            keras.optimizers.schedules,
            keras.optimizers.schedules.LearningRateSchedule,
        ),
        "keras.callbacks": (keras.callbacks, keras.callbacks.Callback),
    }
    for module_name, (module, base) in modules.items():
        for name, value in sorted(vars(module).items()):
            if inspect.isclass(value) and issubclass(value, base):
                try:
                    gin.get_configurable(f"{module_name}.{name}")
                except ValueError:
                    gin.register(value, module=module_name)


def parse(
    files: Sequence[str],
    bindings: Sequence[str] = (),
    *,
    python_files: Sequence[str] = (),
) -> None:
    """Reads gin files and bindings into gin's one configuration, and locks it.

    Later ones override earlier ones. Everything that they name must be registered:
    `import my_module` in a gin file runs my_module.py, which lies beside that file, in
    the current directory, or where Python finds modules. The same folders serve
    `include`.

    Args:
      files: gin files, as `find_config` takes them.
      bindings: `NAME=VALUE`.
      python_files: files that register classes; the same as a gin file that imports
        them.

    Raises:
      ConfigurationError: for whatever gin does not accept; the message names the
        binding, its file and line.
    """
    paths = [str(find_config(name)) for name in files]
    modules = [_find_module(name) for name in python_files]
    for binding in bindings:
        if "=" not in binding:
            raise ConfigurationError(
                f"--gin_param={binding!r} must be a binding, NAME=VALUE, for example "
                '"NES.sigma=0.05".'
            )
    folders = [pathlib.Path(path).resolve().parent for path in paths]
    add_module_folders(
        [path.parent for path in modules] + [pathlib.Path.cwd(), *folders]
    )
    with _messages(bindings, folders=folders):
        for path in modules:
            gin.parse_config(f"import {path.stem}")
        gin.parse_config_files_and_bindings(paths, list(bindings))


def _find_module(name: str) -> pathlib.Path:
    """Returns a file of Python that can be imported by its name."""
    path = pathlib.Path(name).resolve()
    if not path.is_file() or path.suffix != ".py" or not path.stem.isidentifier():
        raise ConfigurationError(
            "--python_file must be a file of Python whose name is a word of letters, "
            f"digits and _, such as my_model.py. Received: {name}"
            + ("." if path.is_file() else ", which does not exist.")
        )
    return path


def add_module_folders(folders: Iterable[str | os.PathLike]) -> None:
    """Lets modules be imported from these folders too, after all others."""
    for folder in folders:
        if os.fspath(folder) not in sys.path:
            sys.path.append(os.fspath(folder))


def module_folders() -> list[str]:
    """Returns the folders of the modules that the configuration imports."""
    folders = []
    for statement in gin.config._IMPORTS:
        name = statement.module.split(".")[0]
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None:
            path = pathlib.Path(file).resolve()
            folders.append(str(path.parents[path.name == "__init__.py"]))
    return sorted(set(folders))


def parse_text(text: str, *, name: str) -> None:
    """Reads the text of a configuration; `name` is used in messages."""
    with _messages(text.splitlines(), name=name):
        gin.parse_config(text)
        gin.finalize()


@contextlib.contextmanager
def _messages(
    bindings: Sequence[str],
    *,
    name: str | None = None,
    folders: Sequence[pathlib.Path] = (),
) -> Iterator[None]:
    """Clears gin's configuration and turns gin's errors into `ConfigurationError`.

    Files are looked for below `config_roots()` and `folders`.
    """
    gin.clear_config()
    # Only files below the roots: gin's other reader takes a folder for a package, and
    # stumbles over one without `__init__.py`. And no log of a missing file before gin
    # raises.
    readers, prefixes = gin.config._FILE_READERS, gin.config._LOCATION_PREFIXES
    gin.config._FILE_READERS = [(open, os.path.isfile)]
    gin.config._LOCATION_PREFIXES = ["", *map(str, [*config_roots(), *folders])]
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with gin.unlock_config():
            yield
    except tokenize.TokenError as error:
        raise ConfigurationError(
            f"A gin binding is not complete ({error.args[0]}); check the brackets and "
            f"quotes of {name or 'the files and of --gin_param'}."
        ) from None
    except (ValueError, OSError, SyntaxError, ImportError, TypeError) as error:
        raise ConfigurationError(_explain(error, bindings)) from None
    finally:
        logging.disable(previous)
        gin.config._FILE_READERS = readers
        gin.config._LOCATION_PREFIXES = prefixes


def train_argument(name: str, default):
    """Returns what the configuration gives `train` for `name`, macros resolved."""
    try:
        value = gin.query_parameter(f"train.{name}")
    except ValueError:
        return default
    if isinstance(value, gin.config.ConfigurableReference) and (
        value.configurable.selector == "gin.macro"
    ):
        value = value.scoped_configurable_fn()
    return value


def make_train_argument(name: str) -> Any:
    """Returns the object that the configuration gives `train` for `name`, or None.

    gin makes what a value refers to when the value is copied, so each call makes it
    anew.
    """
    return copy.deepcopy(train_argument(name, None))


def describe(arguments: Mapping[str, Any], *, smoke: bool = False) -> str:
    """Returns the text that identifies a run: gin's bindings, or else the arguments.

    Args:
      arguments: what `train` was given; described where gin has no configuration.
      smoke: whether it is a smoke run.
    """
    text = gin.config_str()
    if not text.strip():
        lines = ["# train() was called from Python, with"]
        for name, value in arguments.items():
            lines += [f"# {name}: {line}" for line in _plain(value).splitlines()]
        text = "\n".join(lines) + "\n"
    return "# A smoke run.\n" * smoke + text


def hyperparameters() -> dict[str, bool | int | float | str]:
    """Returns each binding with a plain value, and each macro, by name.

    What refers to a macro is left out, since the macro is there; what refers to an
    object is its name.
    """
    values: dict[str, bool | int | float | str] = {}
    for (scope, selector), arguments in gin.config._CONFIG.items():
        prefix = f"{scope}/" if scope else ""
        for argument, value in arguments.items():
            name = f"{prefix}{selector.rsplit('.', 1)[-1]}.{argument}"
            if selector == "gin.macro":
                name = scope
            elif repr(value).startswith("%"):
                continue
            values[name] = value if isinstance(value, _PLAIN) else repr(value)
    return values


def _plain(value: Any) -> str:
    """Returns a description of an object that is the same in every process."""
    if isinstance(value, list | tuple):
        return "\n".join(map(_plain, value))
    if hasattr(value, "get_config"):
        config = json.dumps(value.get_config(), default=_plain, sort_keys=True)
        return f"{type(value).__name__} {config}"
    if value is None or isinstance(value, _PLAIN):
        return repr(value)
    return type(value).__name__


def _explain(error: Exception, bindings: Sequence[str]) -> str:
    """Turns gin's message into one that says what to do."""
    text = str(error).strip()
    macro = re.search(r"No bindings specified for '([\w.]+)/gin\.macro'", text)
    if macro:
        name = macro.group(1)
        return (
            f"The macro %{name} is used in {_user_of_macro(text, name)} but has no "
            f'value. Give it one: --gin_param="{name}=...".'
        )
    where = _place(text, bindings)
    if isinstance(error, ModuleNotFoundError):
        return (
            f"{where}: {text.splitlines()[0]}. A module lies beside the gin file that "
            "imports it, in the current directory, or where PYTHONPATH says."
        )
    unknown = re.search(r"No configurable matching (?:reference )?'@?([\w./]+)", text)
    if unknown:
        name = unknown.group(1).split("/")[-1]
        return f"{where}: nothing registered is named {name!r}.{_near_class(name)}"
    parameter = re.search(
        r"Configurable '([\w.]+)' doesn't have a parameter named '(\w+)'", text
    )
    if parameter:
        owner, name = parameter.groups()
        known = _parameters(owner)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {owner}.{near[0]}?" if near else ""
        return (
            f"{where}: {owner} has no parameter {name!r}.{hint} "
            f"It has: {', '.join(known)}."
        )
    return f"{where}: {text.splitlines()[0]}"


def _place(text: str, bindings: Sequence[str]) -> str:
    """Returns "file, line n: binding" of gin's message."""
    found = re.search(r'In file "(.+?)", line (\d+)(?:\n\s*(.*))?', text)
    if found:
        path, line, source = found.groups()
        return f"{path}, line {line}" + (f" ({source.strip()})" if source else "")
    found = re.search(r"In bindings string line (\d+)", text)
    lines = [line for binding in bindings for line in binding.splitlines()]
    if found and int(found.group(1)) <= len(lines):
        return f'--gin_param="{lines[int(found.group(1)) - 1].strip()}"'
    return "gin configuration"


def _user_of_macro(text: str, name: str) -> str:
    """Returns the bindings, in gin's listing, whose value has the macro."""
    users = re.findall(rf"^([\w./]+)\s*=.*%{re.escape(name)}\b", text, re.MULTILINE)
    return ", ".join(dict.fromkeys(users)) or "the configuration"


def _near_class(name: str) -> str:
    known = {}
    for selector, _ in gin.config._REGISTRY.items():
        known.setdefault(selector.rsplit(".", 1)[-1], selector)
    last = name.rsplit(".", 1)[-1]
    near = difflib.get_close_matches(last, known, n=1)
    if not near:
        lower = {key.lower(): key for key in known}
        near = [lower[k] for k in difflib.get_close_matches(last.lower(), lower, n=1)]
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{hint} List what is with --list."


def _parameters(owner: str) -> list[str]:
    target = gin.config._REGISTRY.get_match(owner).wrapped
    try:
        names = list(inspect.signature(target).parameters)
    except (TypeError, ValueError):
        return []
    return [name for name in names if name not in ("self", "args", "kwargs")]


def _first_comment(path: pathlib.Path) -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            return line.lstrip("# ").strip()
        if line.strip():
            break
    return ""
