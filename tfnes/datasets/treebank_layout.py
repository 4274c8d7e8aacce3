"""Where the files of a treebank are, in the layout of a Universal Dependencies release.

A release has one folder for each treebank, `UD_Indonesian-CSUI`, with files such as
`id_csui-ud-train.conllu`; large training sets come in parts (`...-ud-train-a.conllu`).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfnes.checks import check_choice, check_optional, check_path, check_sequence
from tfnes.errors import ConfigurationError, MissingDataError

PARTS = ("train", "dev", "test")
SUFFIXES = (".conllu", ".conllu.gz")
PREFIXES = {
    "UD_Galician-CTG": "gl_ctg",
    "UD_Galician-TreeGal": "gl_treegal",
    "UD_Indonesian-CSUI": "id_csui",
    "UD_Indonesian-GSD": "id_gsd",
    "UD_Russian-GSD": "ru_gsd",
    "UD_Russian-Taiga": "ru_taiga",
}
"""The treebanks of the paper and how the names of their files begin."""

TreebankSpec = str | os.PathLike | Mapping[str, str | os.PathLike | Sequence[str]]


def find_treebank(
    treebank: TreebankSpec, *, data_dir: str | os.PathLike | None = None
) -> dict[str, list[Path]]:
    """Returns the files of each part of a treebank; nothing is opened.

    Args:
      treebank: the name of a folder in `data_dir` (`"UD_Indonesian-CSUI"`), or the
        path of such a folder, or of one training file, or a mapping of `"train"`,
        `"dev"`, `"test"` to a file or several files.
      data_dir: the folder of the release (also of `ud/` or `ud-treebanks-v2.17/` in
        which the treebanks are); None: the environment variable TFNES_DATA_DIR.

    Raises:
      MissingDataError: if a file or a folder is missing; the message says which files
        to put where.
      ConfigurationError: if a mapping has other keys, or several releases match.
    """
    check_treebank("treebank", treebank)
    if isinstance(treebank, Mapping):
        return _explicit(treebank)
    path = Path(treebank)
    if path.name.endswith(SUFFIXES):
        return _explicit({"train": path})
    data_dir = data_dir or os.environ.get("TFNES_DATA_DIR")
    # A bare name means the treebank of data_dir, whatever the working directory has.
    named = data_dir is not None and len(path.parts) == 1
    if path.is_dir() and not named:
        folder = path
    else:
        folder = _find_folder(os.fspath(treebank), data_dir)
    parts = {part: _part_files(folder, part) for part in PARTS}
    parts = {part: files for part, files in parts.items() if files}
    if not parts:
        raise MissingDataError(
            f"{folder} has no treebank files. Expected there:\n"
            + expected_files(folder.name, folder.parent)
        )
    return parts


def expected_files(treebank: str, data_dir: str | os.PathLike) -> str:
    """Returns the lines of a message: which files to put where, and their source."""
    prefix = PREFIXES.get(treebank, "*")
    lines = [
        f"  {Path(data_dir, treebank)}/{prefix}-ud-{part}.conllu" for part in PARTS
    ]
    return "\n".join(
        [
            *lines,
            "(.conllu.gz will do; dev may be missing.) The treebanks are part of every "
            "Universal Dependencies release, https://universaldependencies.org/#download"
            "; with a network, tfnes.datasets.ud_treebank.download_treebank fetches "
            "those of the paper.",
        ]
    )


def check_treebank(name: str, treebank: Any) -> TreebankSpec:
    """Returns `treebank`; raises a `ConfigurationError` if it names no files."""
    if not isinstance(treebank, Mapping):
        return check_path(name, treebank)
    for part, given in treebank.items():
        check_choice(f"A key of {name}", part, PARTS)
        if isinstance(given, list | tuple):
            check_sequence(f"{name}[{part!r}]", given, check_path)
        else:
            check_optional(f"{name}[{part!r}]", given, check_path)
    if not any(treebank.values()):
        raise ConfigurationError(
            f"{name} must give a file for one of {PARTS}. Received: {treebank!r}."
        )
    return treebank


def _explicit(files: Mapping) -> dict[str, list[Path]]:
    parts = {}
    for part in PARTS:
        given = files.get(part)
        if given is None:
            continue
        paths = [given] if isinstance(given, str | os.PathLike) else given
        parts[part] = [Path(path) for path in paths]
        for path in parts[part]:
            if not path.is_file():
                raise MissingDataError(
                    f"{path}: there is no such file; it was given as the {part} part "
                    "of a treebank."
                )
    return parts


def _find_folder(name: str, data_dir: str | os.PathLike | None) -> Path:
    if not data_dir:
        raise MissingDataError(
            f"Where is the treebank {name}? Set data_dir (or the environment variable "
            "TFNES_DATA_DIR) to a folder DATA_DIR that holds\n"
            + expected_files(name, "DATA_DIR")
        )
    data_dir = Path(data_dir)
    bases = [data_dir, data_dir / "ud", *sorted(data_dir.glob("ud-treebanks-*"))]
    found = [base / name for base in bases if (base / name).is_dir()]
    if len(found) > 1:
        raise ConfigurationError(
            f"{name} is in several folders: {', '.join(map(str, found))}. Give the one "
            "of these that you mean as the treebank."
        )
    if found:
        return found[0]
    if not data_dir.is_dir():
        reason = f"there is no folder {data_dir}"
    else:
        present = sorted(
            {path.name for base in bases for path in base.glob("UD_*") if path.is_dir()}
        )
        reason = f"{data_dir} has no folder of that name"
        close = difflib.get_close_matches(name, present, n=1)
        if close:
            reason += f" (did you mean {close[0]}?)"
        elif present:
            reason += f" (it has {', '.join(present)})"
    raise MissingDataError(
        f"Treebank {name}: {reason}. Expected:\n" + expected_files(name, data_dir)
    )


def _part_files(folder: Path, part: str) -> list[Path]:
    """Returns the files of a part; of `x.conllu` and `x.conllu.gz` the first."""
    files: dict[str, Path] = {}
    for suffix in SUFFIXES:
        for pattern in (f"*-ud-{part}{suffix}", f"*-ud-{part}-*{suffix}"):
            for path in folder.glob(pattern):
                files.setdefault(path.name.removesuffix(suffix), path)
    return [files[name] for name in sorted(files)]
