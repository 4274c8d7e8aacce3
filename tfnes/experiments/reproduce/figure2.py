"""Figure 2: seconds of an update against the size of the input."""

from __future__ import annotations

import dataclasses
import math
import statistics

from tfnes.experiments.reproduce.curves import Curve, Panel, draw_panels
from tfnes.experiments.reproduce.report import Report, Table
from tfnes.experiments.reproduce.runs import FunctionRun, Result, Results
from tfnes.experiments.reproduce.study import Study

PANELS = {
    "NRI": {
        "nes": "NES (N = 4)",
        "sst": "SST",
        "mcmc": "REINFORCE by MCMC",
        "fast_nes": "fast NES (N = 4)",
    },
    "projective parsing": {
        "nes_eisner": "NES with Eisner (N = 4)",
        "dpp": "perturb-and-parse (DPP)",
        "fast_nes_eisner": "fast NES with Eisner (N = 4)",
    },
    "non-projective parsing": {
        "nes_cle": "NES with CLE (N = 4)",
        "sparsemap": "SparseMAP",
        "fast_nes_cle": "fast NES with CLE (N = 4)",
    },
}
"""Labels of the methods in each panel."""

_CLOCKS = {
    "wall": "Seconds",
    "processor": "Processor seconds (all threads added up)",
}

FIT_FROM = 25
"""Exponents are fitted to sizes from here on, where constant costs matter less."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes at which updates are timed.

    Attributes:
      sizes: n.
      num_graphs: examples in a batch of NRI.
      num_sentences: the same of the parsers.
      repetitions: updates that are timed at each point.
      limit: seconds after which a point is given up, start and compilation included;
        the method's larger sizes are then left out.
    """

    sizes: tuple[int, ...]
    num_graphs: int
    num_sentences: int
    repetitions: int
    limit: float
    clock: str


SCALES = {
    "paper": Scale(tuple(range(10, 260, 10)), 32, 32, 10, 3600.0, "wall"),
    "cpu": Scale(
        (10, 25, 100, 250),
        1,
        32,
        3,
        600.0,
        "processor",
    ),
}


class Figure2(Study):
    """Each point is a process; one after another, also with `--jobs`."""

    name = "figure2"
    title = "Figure 2: time of an update against the size of the input (Section 4.3)"
    search = "each method's next size, until one passes the limit"

    def __init__(self, settings):
        # Times of processes that share cores would be of no use.
        super().__init__(dataclasses.replace(settings, jobs=1))
        self.scale = SCALES[settings.scale]
        if settings.smoke:
            self.scale = Scale((5,), 2, 2, 1, 300.0, "wall")

    def more_runs(self, results):
        return [
            run
            for methods in PANELS.values()
            for method in methods
            for run in self._of_method(method, results)
        ]

    def report(self, results):
        last = self.scale.sizes[-1]
        table = Table(
            [
                "model",
                "method",
                *(f"n = {n}" for n in self._shown()),
                "largest n",
                f"exponent, n ≥ {FIT_FROM}",
                f"GiB at n = {last}",
            ],
            title=f"{_CLOCKS[self.scale.clock]} of an update (median)",
        )
        panels = []
        for panel, methods in PANELS.items():
            curves = {}
            for method, label in methods.items():
                points = self._points(method, results)
                medians = {n: self._median(point) for n, point in points.items()}
                curves[label] = [Curve(list(medians), list(medians.values()))]
                top = max(points, default=None)
                table.add(
                    panel,
                    label,
                    *(_seconds(medians.get(n)) for n in self._shown()),
                    top if top == last else f"{top} ({self._reason(method, results)})",
                    _exponent_text(medians),
                    _two_digits(points[last]["peak_gib"]) if last in points else None,
                )
            panels.append(
                Panel(
                    panel, "n", "seconds of an update", curves, log_y=True, log_x=True
                )
            )
        spread = [
            max(p[self.scale.clock]) / min(p[self.scale.clock])
            for methods in PANELS.values()
            for method in methods
            for p in self._points(method, results).values()
        ]
        scale = self.scale
        return Report(
            setting="The paper's models at their full width; random trajectories of "
            f"10 steps ({scale.num_graphs} in a batch; the paper does not say how "
            f"many) and {scale.num_sentences} random sentences of 10,000 words with "
            "300-dimensional vectors; encoder and decoder trained. An update is "
            f"estimate and Adam, {scale.repetitions} of them on data of their own "
            "after the first, which compiles; a point that takes more than "
            f"{scale.limit:.0f} s with its start is given up. All methods on the same "
            "cores: the members of NES run one after another, where the paper gave "
            "each a GPU.",
            tables=[table],
            notes=[
                "Fast NES: noise on what layers compute, for each example of its own. "
                "The exponent b of seconds = a n^b is fitted by least squares on "
                f"logarithms. Largest ratio of the slowest to the fastest update of "
                f"one point: {max(spread, default=math.nan):.1f}.",
                "The paper's Figure 2 gives curves and no numbers; it says that DPP "
                "and SparseMAP grow at a much higher rate than NES, and that on NRI "
                "NES grows more slowly than SST and REINFORCE, by a smaller gap.",
            ],
            figures={"": draw_panels(panels, columns=3)},
            data={
                method: self._points(method, results)
                for methods in PANELS.values()
                for method in methods
            },
        )

    def _shown(self) -> list[int]:
        sizes = self.scale.sizes
        return [n for n in sizes if n in (10, 25, 100, 250)] or list(sizes)

    def _of_method(self, method: str, results: Results) -> list[FunctionRun]:
        runs = []
        for size in self.scale.sizes:
            run = self._run(method, size)
            runs.append(run)
            result = results.get(run.name)
            if result is None or "over_limit" in result:
                break
        return runs

    def _points(self, method: str, results: Results) -> dict[int, dict]:
        found = {n: results.get(self._run(method, n).name) for n in self.scale.sizes}
        return {n: r for n, r in found.items() if r is not None and "wall" in r}

    def _reason(self, method: str, results: Results) -> str:
        """Returns why a method has no larger sizes."""
        found = (results.get(self._run(method, n).name) for n in self.scale.sizes)
        over = any(result is not None and "over_limit" in result for result in found)
        return "next: not within the limit" if over else "next: not run"

    def _median(self, point: Result) -> float:
        return statistics.median(point[self.scale.clock])

    def _run(self, method: str, size: int) -> FunctionRun:
        scale = self.scale
        graphs = method in PANELS["NRI"]
        batch_size = scale.num_graphs if graphs else scale.num_sentences
        return FunctionRun(
            name=f"time-{method}-batch{batch_size}-n{size}",
            function="tfnes.experiments.reproduce.timings:time_update",
            arguments={
                "method": method,
                "size": size,
                "batch_size": batch_size,
                "repetitions": scale.repetitions,
            },
            limit=scale.limit,
        )


def growth_exponent(seconds: dict[int, float]) -> float | None:
    """Returns b of seconds = a n^b by least squares on logarithms, n >= `FIT_FROM`.

    Example:

        >>> round(growth_exponent({10: 9.0, 50: 25.0, 100: 100.0, 200: 400.0}), 3)
        2.0
    """
    points = [(math.log(n), math.log(s)) for n, s in seconds.items() if n >= FIT_FROM]
    if len(points) < 3:
        return None
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    above = sum((a - x) * (b - y) for a, b in points)
    return above / sum((a - x) ** 2 for a, _ in points)


def _exponent_text(seconds: dict[int, float]) -> str | None:
    exponent = growth_exponent(seconds)
    return None if exponent is None else f"{exponent:.2f}"


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g}"


def _two_digits(value: float) -> str:
    return f"{value:.2f}"
