"""Table 3: how many samples NES needs as the network grows."""

from __future__ import annotations

import dataclasses

from tfnes.experiments.reproduce import images
from tfnes.experiments.reproduce.report import Mean, Report, Table
from tfnes.experiments.reproduce.search import Search
from tfnes.experiments.reproduce.study import Results, Study, scale_of

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

POPULATIONS = (4, 10, 20, 30, 40, 60, 80, 100, 120, 150, 200, 300, 400)
"""The N that are tried."""

BASELINE = images.Method(
    "Gumbel-softmax, temperature 1", "gumbel_softmax-1", "table3_gumbel_softmax"
)


def _nes(population_size: int) -> images.Method:
    return dataclasses.replace(
        images.nes(population_size=population_size), config="table3_nes"
    )


class Table3(Study):
    """For each width the smallest N at which NES reaches Gumbel-softmax."""

    name = "table3"
    title = "Table 3: network size and N (Section 4.3, B.1)"
    search = (
        "the learning rate of each row as in figure4; for each width, by bisection "
        f"among N = {', '.join(map(str, POPULATIONS))}, the smallest at which the mean "
        "test -ELBO of NES is not above that of Gumbel-softmax"
    )

    def __init__(self, settings):
        super().__init__(settings)
        self.scale = scale_of(images.SCALES, settings)
        self.widths = list(PAPER)
        if settings.scale == "cpu":
            self.widths = [16, 32, 64, 128]
        self.trivial = images.trivial_run(DATA, scale=self.scale, settings=settings)

    def runs(self):
        return [self.trivial, *self.more_runs({})]

    def more_runs(self, results):
        return [run for width in self.widths for run in self._of_width(width, results)]

    def report(self, results):
        trivial = results.get(self.trivial.name) or {}
        table = Table(
            [
                "parameters",
                "width",
                "Gumbel-softmax, test −ELBO",
                "argmax form",
                "NES, test −ELBO",
                "argmax form",
                "N",
                "growth of N",
                "collapsed",
                "paper: SST",
                "paper: NES",
                "paper: N",
                "paper: growth",
            ]
        )
        mean_image = trivial.get("mean_image")
        previous = None
        for width in self.widths:
            baseline = self._baseline(width).found(results)
            population, reached = self._search(width, results)
            found = self._cell(width, population).found(results) if reached else []
            growth = None
            if reached and previous:
                growth = f"{100 * (population / previous - 1):+.0f} %"
            previous = population if reached else None
            _, sst, nes, paper_n, paper_growth = PAPER[width]
            table.add(
                f"{images.count_parameters(width):,}",
                width,
                images.test_mean(baseline, images.OBJECTIVE),
                images.test_mean(baseline, images.ARGMAX),
                images.test_mean(found, images.OBJECTIVE),
                images.test_mean(found, images.ARGMAX),
                self._population_text(population, reached),
                growth,
                images.collapsed_text([*baseline, *found], mean_image),
                f"{-sst:.2f}",
                f"{-nes:.2f}",
                paper_n,
                None if paper_growth is None else f"{paper_growth:+.0f} %",
            )
        levels = Table(["without a network", "test −ELBO"])
        levels.add("one mean image", mean_image)
        levels.add("ten clusters + log 10", trivial.get("clusters"))
        return Report(
            setting=f"{images.TITLES[DATA]}; the width as in the table. "
            f"{dataclasses.replace(self.scale, hidden_units=0).text}",
            tables=[table, self._tried(results), levels],
            notes=[
                f"N: the smallest of {', '.join(map(str, POPULATIONS))} that reaches "
                "Gumbel-softmax, found by bisection, so under the assumption that a "
                "larger N is not worse. A baseline that has collapsed is no bar: see "
                "the column.",
            ],
        )

    def _tried(self, results: Results) -> Table:
        table = Table(["width", "N", "learning rate", "NES, test −ELBO", "reaches"])
        for width in self.widths:
            bar = self._bar(width, results)
            for population in POPULATIONS:
                cell = self._cell(width, population)
                found = cell.found(results)
                if found and bar is not None:
                    mean = images.test_mean(found, images.OBJECTIVE)
                    reaches = "yes" if mean.mean <= bar else "no"
                    rate = f"{cell.best(results):g}"
                    table.add(width, population, rate, mean, reaches)
        table.title = "All N that were tried"
        return table

    def _baseline(self, width: int) -> Search:
        scale = dataclasses.replace(self.scale, hidden_units=width)
        return images.search(BASELINE, DATA, scale)

    def _cell(self, width: int, population: int) -> Search:
        scale = dataclasses.replace(self.scale, hidden_units=width)
        return images.search(_nes(population), DATA, scale)

    def _bar(self, width: int, results: Results) -> float | None:
        """Returns the -ELBO to reach."""
        found = self._baseline(width).found(results)
        return Mean.of([r["scores"]["test"][images.OBJECTIVE] for r in found]).mean

    def _of_width(self, width: int, results: Results):
        baseline = self._baseline(width)
        if baseline.is_open(results) or self._bar(width, results) is None:
            return baseline.runs(results)
        population, _ = self._search(width, results)
        return [
            *baseline.runs(results),
            *(
                ()
                if population is None
                else self._cell(width, population).runs(results)
            ),
        ]

    def _search(self, width: int, results: Results) -> tuple[int | None, bool]:
        """Returns the N to look at, and whether it is the answer.

        (N, False): this one is to be run next, or has failed; (None, False): no N of
        the list reaches the bar, or there is no bar; (N, True): the smallest that does.
        """
        bar = self._bar(width, results)
        if bar is None:
            return None, False
        low, high = 0, len(POPULATIONS)
        while low < high:
            middle = (low + high) // 2
            cell = self._cell(width, POPULATIONS[middle])
            found = cell.found(results)
            if cell.is_open(results) or not found:
                return POPULATIONS[middle], False
            if images.test_mean(found, images.OBJECTIVE).mean <= bar:
                high = middle
            else:
                low = middle + 1
        return (POPULATIONS[low], True) if low < len(POPULATIONS) else (None, False)

    def _population_text(self, population: int | None, reached: bool) -> str | None:
        if reached:
            return str(population)
        return None if population is not None else f"> {POPULATIONS[-1]}"
