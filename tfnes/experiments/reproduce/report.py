"""Results as JSON, as a Markdown table, and as pictures."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tfnes
from tfnes.experiments.reproduce.runs import Settings
from tfnes.experiments.results import format_seconds
from tfnes.files import write_atomically, write_text

PACKAGES = ("tensorflow", "keras", "numpy")
MISSING = "–"


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over seeds, with the sample standard deviation.

    Attributes:
      values: one for each seed that gave one.
      digits: after the point.

    Example:

        >>> print(Mean((1.0, 2.0, 3.0)), Mean((1.0,)), Mean(()))
        2.0 ± 1.0 1.0 (one seed) –
    """

    values: tuple[float, ...]
    digits: int = 1

    @classmethod
    def of(cls, values: Iterable[float | None], digits: int = 1) -> Mean:
        """Returns the mean of those values that are there."""
        return cls(tuple(float(v) for v in values if v is not None), digits)

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        if not self.values:
            return MISSING
        text = f"{self.mean:.{self.digits}f}"
        if self.sd is None:
            return f"{text} (one seed)"
        return f"{text} ± {self.sd:.{self.digits}f}"

    def to_json(self) -> dict[str, Any]:
        return {"mean": self.mean, "sd": self.sd, "values": list(self.values)}


@dataclasses.dataclass
class Table:
    """Rows under named columns; a cell is text, a number, a `Mean`, or None.

    Attributes:
      columns: names.
      title: shown above.
      rows: one value for each column.

    Example:

        >>> table = Table(["method", "-ELBO"], title="Toy")
        >>> table.add("NES", Mean((1.0, 3.0)))
        >>> print(table.markdown())
        **Toy**
        <BLANKLINE>
        | method | -ELBO |
        |---|---|
        | NES | 2.0 ± 1.4 |
    """

    columns: Sequence[str]
    title: str = ""
    rows: list[Sequence[Any]] = dataclasses.field(default_factory=list)

    def add(self, *cells: Any) -> None:
        """Adds a row.

        Raises:
          ValueError: if it has not one cell for each column.
        """
        if len(cells) != len(self.columns):
            raise ValueError(
                f"A row needs {len(self.columns)} cells. Received: {cells}."
            )
        self.rows.append(cells)

    def markdown(self) -> str:
        lines = [f"**{self.title}**", ""] if self.title else []
        lines += [_line(self.columns), "|" + "---|" * len(self.columns)]
        return "\n".join([*lines, *(_line([_text(c) for c in r]) for r in self.rows)])

    def to_json(self) -> dict[str, Any]:
        rows = [
            {name: _plain(cell) for name, cell in zip(self.columns, row, strict=True)}
            for row in self.rows
        ]
        return {"title": self.title, "rows": rows}


@dataclasses.dataclass
class Report:
    """What a study came to.

    Attributes:
      setting: what was run, in sentences; says what is reduced.
      tables: the results.
      notes: sentences below the tables.
      figures: matplotlib figures by the suffix of their files, "" for the only one.
      data: further JSON.
    """

    setting: str
    tables: list[Table]
    notes: list[str] = dataclasses.field(default_factory=list)
    figures: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def write_report(
    report: Report,
    *,
    name: str,
    title: str,
    settings: Settings,
    seconds: float,
    incomplete: Sequence[str],
) -> str:
    """Writes `NAME.json`, `NAME.md` and the pictures; returns the Markdown.

    Args:
      report: what to write.
      name: of the files, without suffix.
      title: of the study.
      settings: of the program; the files go to its `output_dir`.
      seconds: time of all runs that the report shows, added up.
      incomplete: names of runs that are missing.
    """
    folder = settings.output_dir
    scale = f"{settings.scale}, smoke run" if settings.smoke else settings.scale
    machine = describe_machine()
    lines = [f"# {title}", "", f"Scale: {scale}. {report.setting}", ""]
    if settings.smoke:
        lines += ["**Two updates on four examples: the numbers say nothing.**", ""]
    if incomplete:
        lines += [f"**Incomplete**: without {', '.join(incomplete)}.", ""]
    for table in report.tables:
        lines += [table.markdown(), ""]
    lines += [line for note in report.notes for line in (note, "")]
    pictures = []
    for suffix, figure in report.figures.items():
        stem = f"{name}-{suffix}" if suffix else name
        for kind in ("png", "svg"):
            _save(figure, folder / f"{stem}.{kind}")
        pictures.append(f"{stem}.svg")
        lines += [f"![{stem}]({stem}.svg)", ""]
    lines += [
        f"Runs: {format_seconds(seconds)} in all. Machine: {machine['summary']}. "
        f"Command: `{settings.command}`.",
    ]
    text = "\n".join(lines) + "\n"
    value = {
        "study": name,
        "title": title,
        "scale": settings.scale,
        "smoke": settings.smoke,
        "setting": report.setting,
        "tables": [table.to_json() for table in report.tables],
        "notes": report.notes,
        "data": report.data,
        "pictures": pictures,
        "incomplete": list(incomplete),
        "seconds": round(seconds, 1),
        "command": settings.command,
        "machine": machine,
    }
    write_text(folder / f"{name}.md", text)
    dumped = json.dumps(_plain(value), indent=2, ensure_ascii=False)
    write_text(folder / f"{name}.json", dumped + "\n")
    return text


def describe_machine() -> dict[str, Any]:
    """Returns processor, cores, Python and versions, and a summary in words."""
    versions = {"tfnes": tfnes.__version__}
    for package in PACKAGES:
        versions[package] = importlib.metadata.version(package)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cores = cores or os.cpu_count()
    processor = _processor()
    return {
        "processor": processor,
        "cores": cores,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
        "summary": f"{cores} cores of {processor}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _processor() -> str:
    path = pathlib.Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _save(figure: Any, path: pathlib.Path) -> None:
    from tfnes.plotting import save_figure

    write_atomically(path, lambda temporary: save_figure(figure, temporary))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _text(cell: Any) -> str:
    if cell is None:
        return MISSING
    if isinstance(cell, float):
        return f"{cell:.1f}"
    return str(cell)


def _plain(value: Any) -> Any:
    """Returns a value that JSON has; NaN and infinity become None."""
    if isinstance(value, Mean):
        return _plain(value.to_json())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
