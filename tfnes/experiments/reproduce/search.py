"""Model selection: settings are tried with one seed, all seeds run at the best."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from tfnes.experiments.reproduce.runs import Result, Results, Run


@dataclasses.dataclass(frozen=True)
class Search:
    """The runs of one row of a table.

    Every option is run with the first seed, in the short form of a run; then all seeds
    are run in full at the option with the lowest score. With one option nothing is
    tried. It is a function of the results so far, so a study that is resumed goes on
    where it stood.

    Attributes:
      make: `(option, seed, short) -> run`.
      options: what is tried, for example learning rates.
      seeds: of the runs that are reported.
      score: of a result, lower is better; never looks at test data.
      like: another search, whose best option is taken; None: one's own.
    """

    make: Callable[[Any, int, bool], Run]
    options: Sequence[Any]
    seeds: Sequence[int]
    score: Callable[[Result], float]
    like: Search | None = None

    def runs(self, results: Results) -> list[Run]:
        """Returns the runs that are needed, as far as the results so far tell."""
        return [*self._tried().values(), *self._chosen(results)]

    def is_open(self, results: Results) -> bool:
        """Returns whether runs are still to be made."""
        return any(run.name not in results for run in self.runs(results))

    def best(self, results: Results) -> Any | None:
        """Returns the best option; None where it is not known yet, or all failed."""
        if self.like is not None:
            return self.like.best(results)
        if len(self.options) == 1:
            return self.options[0]
        scores = {}
        for option, run in self._tried().items():
            if run.name not in results:
                return None
            if results[run.name] is not None:
                scores[option] = self.score(results[run.name])
        return min(scores, key=scores.get) if scores else None

    def found(self, results: Results) -> list[Result]:
        """Returns the results of all seeds at the best option that are there."""
        return list(self.found_by_seed(results).values())

    def found_by_seed(self, results: Results) -> dict[int, Result]:
        """Returns the same by seed."""
        found = {
            seed: results.get(run.name)
            for seed, run in zip(self.seeds, self._chosen(results), strict=False)
        }
        return {seed: result for seed, result in found.items() if result is not None}

    def _tried(self) -> dict[Any, Run]:
        if self.like is not None:
            return self.like._tried()
        if len(self.options) == 1:
            return {}
        return {o: self.make(o, self.seeds[0], True) for o in self.options}

    def _chosen(self, results: Results) -> list[Run]:
        option = self.best(results)
        if option is None:
            return []
        return [self.make(option, seed, False) for seed in self.seeds]
