"""The results of a run, and the table that shows them."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

PERCENT = ("uas", "las", "precision", "recall", "f1", "accuracy")
HIDDEN = ("log_likelihood", "kl")

Scores = Mapping[str, Mapping[str, float]]
"""Values by split and metric."""


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
      output_dir: the run directory.
      phases: for each phase, the metrics of the model that it handed on, by split.
      baselines: metrics that need no model, by split.
      best_epochs: for each phase the epoch of that model; 0: as the phase began.
      seconds: time of training and evaluation.
    """

    output_dir: pathlib.Path
    phases: dict[str, dict[str, dict[str, float]]]
    baselines: dict[str, dict[str, float]]
    best_epochs: dict[str, int]
    seconds: float

    @property
    def model(self):
        """The final model, loaded from the run directory."""
        import keras

        return keras.saving.load_model(self.output_dir / "best.keras")

    def to_json(self) -> dict[str, Any]:
        """Returns what `metrics.json` holds."""
        fields = dataclasses.asdict(self)
        del fields["output_dir"]
        return fields

    @classmethod
    def from_json(cls, value: Mapping[str, Any], output_dir: pathlib.Path) -> RunResult:
        return cls(output_dir=output_dir, **value)

    def table(self) -> str:
        """Returns the results as lines of text."""
        rows: dict[str, Scores] = {}
        names = {
            name: dict.fromkeys(values)
            for split in self.baselines.values()
            for name, values in [(None, split)]
        }.get(None, {})
        metrics = {
            metric
            for scores in self.phases.values()
            for values in scores.values()
            for metric in values
        }
        for name in names:
            label, metric = _baseline_label(name, metrics)
            rows[label] = {
                split: {metric: values[name]}
                for split, values in self.baselines.items()
                if name in values
            }
        for phase, scores in self.phases.items():
            epoch = self.best_epochs.get(phase)
            label = f"after {phase}"
            rows[label] = scores
            if epoch is not None:
                label = f"{label} (epoch {epoch})"
                rows[label] = rows.pop(f"after {phase}")
        return "\n".join(
            [
                format_table(rows),
                "",
                f"time: {format_seconds(self.seconds)}",
                f"run directory: {self.output_dir}",
            ]
        )


def format_table(rows: Mapping[str, Scores]) -> str:
    """Returns a table with one line for each row, and a group of columns a split.

    Example:

        >>> print(format_table({"mine": {"dev": {"uas": 0.75, "neg_elbo": 2.0}}}))
                dev
                uas  neg_elbo
        mine  75.00     2.000
    """
    columns: dict[str, dict[str, None]] = {}
    for scores in rows.values():
        for split, values in scores.items():
            shown = (name for name in values if name not in HIDDEN)
            columns.setdefault(split, {}).update(dict.fromkeys(shown))
    grid = [
        [
            "",
            *(s for s, names in columns.items() for s in [s] + [""] * (len(names) - 1)),
        ],
        ["", *(name for names in columns.values() for name in names)],
    ]
    for label, scores in rows.items():
        line = [label]
        for split, names in columns.items():
            for name in names:
                line.append(_number(name, scores.get(split, {}).get(name)))
        grid.append(line)
    widths = [max(len(line[i]) for line in grid[1:]) for i in range(len(grid[0]))]
    # The name of a split may run over the columns of its metrics.
    position = 1
    for split, names in columns.items():
        room = sum(widths[position : position + len(names)]) + 2 * (len(names) - 1)
        widths[position + len(names) - 1] += max(0, len(split) - room)
        position += len(names)
    lines = [" " * widths[0]]
    position = 1
    for split, names in columns.items():
        room = sum(widths[position : position + len(names)]) + 2 * (len(names) - 1)
        lines[0] += "  " + split.center(room)
        position += len(names)
    for line in grid[1:]:
        cells = [cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True)]
        lines.append("  ".join([line[0].ljust(widths[0]), *cells]))
    return "\n".join(line.rstrip() for line in lines)


def format_seconds(seconds: float) -> str:
    """Returns a duration for people.

    Example:

        >>> [format_seconds(s) for s in (3.14, 75, 7322)]
        ['3.1 s', '1 min 15 s', '2 h 2 min']
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _baseline_label(name: str, metrics: Collection[str]) -> tuple[str, str]:
    """Returns the row and the column, of `metrics`, of "right_branching_uas"."""
    words = name.split("_")
    for i in range(1, len(words)):
        if "_".join(words[i:]) in metrics:
            return "-".join(words[:i]), "_".join(words[i:])
    label, _, metric = name.rpartition("_")
    return (label.replace("_", "-"), metric) if label else (name, name)


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name.rsplit("_", 1)[-1] in PERCENT:
        return f"{100 * value:.2f}"
    return f"{value:.3f}"
