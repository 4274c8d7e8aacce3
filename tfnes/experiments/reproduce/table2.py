"""Table 2: unsupervised domain adaptation of a parser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfnes.experiments.reproduce.bootstrap import paired_bootstrap
from tfnes.experiments.reproduce.report import Mean, Report, Table
from tfnes.experiments.reproduce.runs import (
    FunctionRun,
    Result,
    Results,
    Run,
    TrainingRun,
)
from tfnes.experiments.reproduce.study import Study, scale_of
from tfnes.experiments.reproduce.table2_settings import (
    METHODS,
    PAPER,
    SCALES,
    SETUPS,
    Method,
)

FOLDER = "gin_configs/papers/berliner2022"


class Table2(Study):
    """Six pairs of treebanks, four methods, the decoder frozen or not."""

    name = "table2"
    title = "Table 2: unsupervised domain adaptation for dependency parsing (4.2)"
    search = (
        "the starting points with both kinds of trees; each method at every learning "
        "rate with the first seed, then all seeds at the one with the best UAS on "
        "source dev, a process for each row of the table"
    )

    def __init__(self, settings):
        super().__init__(settings)
        self.scale = scale_of(SCALES, settings)

    def more_runs(self, results):
        runs: list[Run] = []
        for setup in SETUPS:
            supervised = [self._pretrain(setup, seed) for seed in self._seeds(setup)]
            runs += supervised
            if all(results.get(run.name) is not None for run in supervised):
                runs += [self._starts(setup, trees) for trees in (True, False)]
                runs += [self._adapt(setup, row) for row in self._methods(setup)]
        return runs

    def report(self, results):
        table = Table(
            [
                "target",
                "trees",
                "method",
                "decoder",
                "learning rate",
                "updates",
                "source dev UAS",
                "target test UAS",
                "target test LAS",
                "reconstruction loss",
                "change of UAS (p)",
                "better on source dev",
                "CPU minutes",
                "paper: UAS",
            ]
        )
        changes = self._changes(results)
        for setup in SETUPS:
            for projective in (True, False):
                trees = "projective" if projective else "non-projective"
                start = results.get(self._starts(setup, projective).name)
                table.add(
                    setup,
                    trees,
                    "before adaptation",
                    *[None] * 3,
                    *_scores(start["starts"] if start else []),
                    *[None] * 4,
                )
                for method in self._methods(setup):
                    if method.projective == projective:
                        run = self._adapt(setup, method).name
                        result, change = results.get(run), changes.get(run)
                        cells = self._cells(setup, method, start, result, change)
                        table.add(setup, trees, method.label, *cells)
        return Report(
            setting=self._setting(),
            tables=[table],
            notes=[
                "UAS without punctuation (words whose UPOS is PUNCT), as the paper "
                "counts; LAS over all words; the loss in nats a word, one sampled tree "
                "a sentence. The epoch of the best UAS on source dev counts, the start "
                "being no candidate, as in the authors' code; in how many seeds that "
                "is better than the start, another column says. p: paired bootstrap "
                "over the sentences of the target test set, all seeds together, "
                "against the starting point. Mean ± standard deviation over seeds. CPU "
                "minutes: of the updates of one adaptation, the fastest of the row's.",
                *self._reading(results, changes),
            ],
        )

    def _changes(self, results: Results) -> dict[str, dict[str, float]]:
        """Returns the change of UAS on target test of each adaptation, by its name."""
        changes = {}
        for setup in SETUPS:
            for method in self._methods(setup):
                start = results.get(self._starts(setup, method.projective).name)
                run = self._adapt(setup, method).name
                result = results.get(run)
                if start is not None and result is not None:
                    changes[run] = paired_bootstrap(
                        [one["correct"] for one in start["starts"]],
                        [one["correct"] for one in result["adapted"]],
                        start["counted"],
                    )
        return changes

    def _cells(
        self,
        setup: str,
        method: Method,
        start: Result | None,
        result: Result | None,
        found: dict[str, float] | None,
    ) -> list[Any]:
        """Returns the cells of a method's row from "decoder" on."""
        adapted = result["adapted"] if result else []
        change = better = None
        if found is not None and start is not None:
            change = f"{found['difference']:+.2f} ({found['p']:.3f})"
            pairs = zip(start["starts"], adapted, strict=True)
            wins = sum(_dev_uas(after) > _dev_uas(before) for before, after in pairs)
            better = f"{wins} of {len(adapted)}"
        minutes = [one["seconds"] / 60 for one in adapted]
        paper = PAPER.get((method.paper, method.projective))
        return [
            "frozen" if method.frozen else "trained",
            f"{result['rate']:g}" if result else None,
            adapted[0]["updates"] if adapted else None,
            *_scores(adapted),
            change,
            better,
            f"{min(minutes):.2f}" if minutes else None,
            paper and f"{paper[list(SETUPS).index(setup)]:.2f}",
        ]

    def _reading(
        self, results: Results, changes: dict[str, dict[str, float]]
    ) -> Iterator[str]:
        """Yields what the rows say together: better or worse, loss against UAS."""
        losses, gains = [], []
        for setup in SETUPS:
            for method in self._methods(setup):
                start = results.get(self._starts(setup, method.projective).name)
                result = results.get(self._adapt(setup, method).name)
                if start is None or result is None:
                    continue
                for before, after in zip(
                    start["starts"], result["adapted"], strict=True
                ):
                    before = before["scores"]["target_test"]
                    after = after["scores"]["target_test"]
                    losses.append(after["neg_elbo"] - before["neg_elbo"])
                    gains.append(after["words_uas"] - before["words_uas"])
        if not changes:
            return
        differences = [found["difference"] for found in changes.values()]
        clear = [f["difference"] for f in changes.values() if f["p"] < 0.05]
        yield (
            f"Of {len(changes)} rows that are adapted, UAS on target test is above the "
            f"start in {sum(one > 0 for one in differences)}, with "
            f"p < 0.05 (not corrected for their number) in "
            f"{sum(one > 0 for one in clear)}; with p < 0.05 below it in "
            f"{sum(one < 0 for one in clear)}."
        )
        if len(gains) > 2 and np.std(losses) > 0 and np.std(gains) > 0:
            yield (
                f"Over the {len(gains)} adaptations, the correlation of the change of "
                "the reconstruction loss with the change of UAS, both on target test, "
                f"is {np.corrcoef(losses, gains)[0, 1]:+.2f}; it would be negative if "
                "a lower loss went with better trees."
            )

    def _setting(self) -> str:
        scale = self.scale
        reduced = ""
        if self.settings.scale != "paper":
            reduced = (
                "Reduced: dev files stand in for missing training files, training "
                "sentences of at most 30 words, small vectors; NES with N = 400 has "
                "fewer updates than the others, and no solver is compiled by XLA. "
            )
        rates = ", ".join(f"{rate:g}" for rate in scale.learning_rates)
        brief = f" ({', '.join(scale.brief)}: the first)" if scale.brief else ""
        return (
            f"{reduced}Supervised phase {scale.pretrain_epochs} epochs, second phase "
            f"{scale.epochs}, batch {scale.batch_size}, Adam, learning rate among "
            f"{rates}; NES with σ = 0.1; fast NES with σ = 1 on the arc scores, "
            "a trained decoder by back-propagation; seeds "
            f"{', '.join(map(str, scale.seeds))}{brief}."
        )

    def _seeds(self, setup: str) -> tuple[int, ...]:
        return self.scale.seeds[:1] if setup in self.scale.brief else self.scale.seeds

    def _methods(self, setup: str) -> list[Method]:
        brief = setup in self.scale.brief
        return [method for method in METHODS if not (brief and method.extra)]

    def _pretrain(self, setup: str, seed: int) -> TrainingRun:
        return TrainingRun(
            name=f"parser-{setup}-supervised-seed{seed}",
            gin_files=(f"{FOLDER}/table2_nes.gin", self._data(setup)),
            bindings=(
                f"PRETRAIN_EPOCHS = {self.scale.pretrain_epochs}",
                *self.scale.bindings,
                "train.phases = [@pretrain/Phase()]",
            ),
            seed=seed,
            needs_data=True,
        )

    def _starts(self, setup: str, projective: bool) -> FunctionRun:
        return self._function(
            "evaluate_starts",
            setup,
            f"start-{_trees(projective)}",
            config="table2_nes",
            bindings=(f"DependencyTree.projective = {projective}",),
        )

    def _adapt(self, setup: str, method: Method) -> FunctionRun:
        scale = self.scale
        whole = method.key != "nes"
        decoder = "frozen" if method.frozen else "trained"
        row = f"{method.key}-{_trees(method.projective)}-{decoder}"
        return self._function(
            "adapt",
            setup,
            row,
            config=method.config,
            bindings=(
                f"DependencyTree.projective = {method.projective}",
                f"adapt/Phase.frozen = {('decoder',) if method.frozen else ()}",
                f"ADAPT_EPOCHS = {scale.epochs if whole else scale.nes_epochs}",
                f"ADAPT_BATCH_SIZE = {scale.batch_size}",
            ),
            seeds=self._seeds(setup),
            rates=scale.learning_rates,
            updates=scale.updates if whole else scale.nes_updates,
            xla=scale.xla,
        )

    def _function(
        self,
        function: str,
        setup: str,
        row: str,
        *,
        config: str,
        bindings: tuple[str, ...],
        **arguments: Any,
    ) -> FunctionRun:
        name = f"parser-{setup}-{row}"
        runs = self.settings.output_dir / "runs"
        if function == "adapt":
            arguments["output"] = str(runs / name / "adaptations")
        supervised = [self._pretrain(setup, seed) for seed in self._seeds(setup)]
        return FunctionRun(
            name=name,
            function=f"tfnes.experiments.reproduce.parsing:{function}",
            arguments={
                "starts": [str(runs / run.name) for run in supervised],
                "gin_files": [f"{FOLDER}/{config}.gin", self._data(setup)],
                "bindings": [
                    *self.scale.bindings,
                    "train.phases = [@adapt/Phase()]",
                    "train.model = @saved_model()",
                    "saved_model.structure = @DependencyTree()",
                    *bindings,
                ],
                "data_dir": self.settings.data_dir,
                "smoke": self.settings.smoke,
                **arguments,
            },
        )

    @staticmethod
    def _data(setup: str) -> str:
        return f"gin_configs/datasets/{SETUPS[setup]}.gin"


def _trees(projective: bool) -> str:
    return "projective" if projective else "nonprojective"


def _dev_uas(result: Result) -> float:
    return result["scores"]["source_dev"]["words_uas"]


def _scores(found: list[Result]) -> list[Mean]:
    """Returns UAS on source dev, and UAS, LAS and loss on target test."""

    def mean(split: str, metric: str, factor: float, digits: int) -> Mean:
        return Mean.of([factor * r["scores"][split][metric] for r in found], digits)

    return [
        mean("source_dev", "words_uas", 100, 2),
        mean("target_test", "words_uas", 100, 2),
        mean("target_test", "las", 100, 2),
        mean("target_test", "neg_elbo", 1, 3),
    ]
