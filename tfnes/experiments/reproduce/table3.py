"""Table 3: how many samples NES needs as the network grows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tfnes.experiments.reproduce import images
from tfnes.experiments.reproduce.report import Mean, Report, Table
from tfnes.experiments.reproduce.runs import Result, Results
from tfnes.experiments.reproduce.search import Search
from tfnes.experiments.reproduce.study import Study, scale_of

DATA = "fashion_mnist"
PAPER = {
    16: ("25K", -240.48, -239.40, 60, None),
    32: ("50K", -239.49, -231.02, 60, 0.0),
    64: ("100K", -233.13, -232.40, 90, 50.0),
    128: ("200K", -233.92, -233.99, 100, 11.11),
    256: ("400K", -239.02, -234.29, 100, 0.0),
    512: ("800K", -241.03, -234.86, 100, 0.0),
}
"""By width: parameters, ELBO of SST, ELBO of NES, N, growth of N in percent."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is searched.

    Attributes:
      widths: of encoder and decoder.
      populations: the N that are tried, by the method.
    """

    widths: tuple[int, ...]
    populations: dict[str, tuple[int, ...]]


SIZES = {
    "paper": Sizes(
        tuple(PAPER),
        {
            "NES": (4, 10, 20, 30, 40, 60, 80, 100, 120, 150, 200, 300, 400),
            "fast NES": (2, 4, 8, 16, 32, 64, 128),
        },
    ),
    "cpu": Sizes((16, 32), {"NES": (100, 300), "fast NES": (4, 16, 64)}),
}

BASELINE = images.Method(
    "Gumbel-softmax, temperature 1", "gumbel_softmax-1", "table3_gumbel_softmax", 1e-2
)


class Table3(Study):
    """For each width the smallest N at which NES reaches Gumbel-softmax."""

    name = "table3"
    title = "Table 3: network size and N (Section 4.3, B.1)"
    search = (
        "the learning rate of each row as in figure4; for each width, by bisection, "
        "the smallest N at which the mean test -ELBO of NES is not above that of "
        "Gumbel-softmax"
    )

    def __init__(self, settings):
        super().__init__(settings)
        self.scale = scale_of(images.SCALES, settings)
        self.sizes = SIZES[settings.scale]
        self.trivial = images.trivial_run(DATA, scale=self.scale, settings=settings)

    def runs(self):
        return [self.trivial, *self.more_runs({})]

    def more_runs(self, results):
        return [
            run
            for method in self.sizes.populations
            for width in self.sizes.widths
            for run in self._of_width(method, width, results)
        ]

    def report(self, results):
        trivial = results.get(self.trivial.name) or {}
        mean_image = trivial.get("mean_image")
        levels = Table(["without a network", "test −ELBO"])
        levels.add("one mean image", mean_image)
        levels.add("ten clusters + log 10", trivial.get("clusters"))
        tried = "; ".join(
            f"{method}: {', '.join(map(str, populations))}"
            for method, populations in self.sizes.populations.items()
        )
        return Report(
            setting=f"{images.TITLES[DATA]}; the width as in the table. "
            f"{dataclasses.replace(self.scale, hidden_units=0).text}",
            tables=[self._found(results, mean_image), self._tried(results), levels],
            notes=[
                f"N: the smallest that reaches Gumbel-softmax ({tried}), found by "
                "bisection, so under the assumption that a larger N is not worse. A "
                "baseline that has collapsed is no bar: see the column.",
                "Fast NES: noise on log-potentials, for each example of its own; "
                "back-propagation for the decoder. The paper has no such row.",
            ],
        )

    def _found(self, results: Results, mean_image: float | None) -> Table:
        table = Table(
            [
                "method",
                "parameters",
                "width",
                "Gumbel-softmax, test −ELBO",
                "argmax form",
                "test −ELBO",
                "argmax form ",
                "N",
                "growth of N",
                "collapsed",
                "paper: SST",
                "paper: NES",
                "paper: N",
                "paper: growth",
            ]
        )
        for method in self.sizes.populations:
            previous = None
            for width in self.sizes.widths:
                baseline = self._baseline(width).found(results)
                population, reached = self._search(method, width, results)
                found = []
                if reached:
                    found = self._cell(method, width, population).found(results)
                growth = None
                if reached and population and previous:
                    growth = f"{100 * (population / previous - 1):+.0f} %"
                previous = population if reached else None
                table.add(
                    method,
                    f"{images.count_parameters(width):,}",
                    width,
                    images.test_mean(baseline, images.OBJECTIVE),
                    images.test_mean(baseline, images.ARGMAX),
                    images.test_mean(found, images.OBJECTIVE),
                    images.test_mean(found, images.ARGMAX),
                    self._population_text(method, population, reached)
                    if baseline
                    else None,
                    growth,
                    images.collapsed_text([*baseline, *found], mean_image)
                    if baseline
                    else None,
                    *(_paper_cells(width) if method == "NES" else [None] * 4),
                )
        return table

    def _tried(self, results: Results) -> Table:
        table = Table(
            ["method", "width", "N", "learning rate", "test −ELBO", "reaches"],
            title="All N that were tried",
        )
        for method, populations in self.sizes.populations.items():
            for width in self.sizes.widths:
                bar = self._bar(width, results)
                for population in populations:
                    cell = self._cell(method, width, population)
                    found = cell.found(results)
                    if found and bar is not None:
                        mean = images.test_mean(found, images.OBJECTIVE)
                        reaches = "yes" if _reaches(found, bar) else "no"
                        rate = f"{cell.best(results):g}"
                        table.add(method, width, population, rate, mean, reaches)
        return table

    def _baseline(self, width: int) -> Search:
        scale = dataclasses.replace(self.scale, hidden_units=width)
        return images.search(BASELINE, DATA, scale)

    def _cell(self, method: str, width: int, population: int) -> Search:
        scale = dataclasses.replace(self.scale, hidden_units=width)
        if method == "NES":
            way = images.nes(scale, population_size=population)
        else:
            way = images.fast_nes(population_size=population)
        return images.search(way, DATA, scale)

    def _bar(self, width: int, results: Results) -> float | None:
        """Returns the -ELBO to reach."""
        found = self._baseline(width).found(results)
        return Mean.of([r["scores"]["test"][images.OBJECTIVE] for r in found]).mean

    def _of_width(self, method: str, width: int, results: Results):
        baseline = self._baseline(width)
        if baseline.is_open(results) or self._bar(width, results) is None:
            return baseline.runs(results)
        population, _ = self._search(method, width, results)
        if population is None:
            return baseline.runs(results)
        cell = self._cell(method, width, population)
        return [*baseline.runs(results), *cell.runs(results)]

    def _search(
        self, method: str, width: int, results: Results
    ) -> tuple[int | None, bool]:
        """Returns the N to look at, and whether it is the answer.

        (N, False): this one is to be run next, or has failed; (None, False): no N of
        the list reaches the bar, or there is no bar; (N, True): the smallest that does.
        """
        bar = self._bar(width, results)
        if bar is None:
            return None, False
        populations = self.sizes.populations[method]
        low, high = 0, len(populations)
        while low < high:
            middle = (low + high) // 2
            cell = self._cell(method, width, populations[middle])
            found = cell.found(results)
            if cell.is_open(results) or not found:
                return populations[middle], False
            if _reaches(found, bar):
                high = middle
            else:
                low = middle + 1
        if low == len(populations):
            return None, False
        return populations[low], True

    def _population_text(
        self, method: str, population: int | None, reached: bool
    ) -> str | None:
        if reached:
            return str(population)
        if population is not None:
            return None
        return f"> {self.sizes.populations[method][-1]}"


def _reaches(found: Sequence[Result], bar: float) -> bool:
    mean = images.test_mean(found, images.OBJECTIVE).mean
    return mean is not None and mean <= bar


def _paper_cells(width: int) -> list:
    _, sst, nes, population, growth = PAPER[width]
    growth_text = None if growth is None else f"{growth:+.0f} %"
    return [f"{-sst:.2f}", f"{-nes:.2f}", population, growth_text]
