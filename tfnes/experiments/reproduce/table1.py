"""Table 1: latent structure recovery by six methods, and one more, in two spaces."""

from __future__ import annotations

from tfnes.experiments.reproduce.report import Mean, Report, Table
from tfnes.experiments.reproduce.runs import FunctionRun, Result, Results, TrainingRun
from tfnes.experiments.reproduce.search import Search
from tfnes.experiments.reproduce.study import Study, scale_of
from tfnes.experiments.reproduce.table1_settings import (
    METHODS,
    SCALES,
    SPACES,
    Method,
    Size,
)

FOLDER = "gin_configs/papers/berliner2022"


class Table1(Study):
    """Equal time for every method, settings chosen by the same small search."""

    name = "table1"
    title = "Table 1: latent structure recovery (Section 4.1)"
    search = (
        "runs at all settings of a method, shorter and with the first seed; then all "
        "seeds at the one whose ELBO is best on validation"
    )

    def __init__(self, settings):
        super().__init__(settings)
        self.scale = scale_of(SCALES, settings, epochs=1)

    def more_runs(self, results):
        runs = []
        for size, space, method in self._rows():
            runs += self._timings(size, method)
            search = self._search(size, space, method, results)
            runs += [] if search is None else search.runs(results)
        return runs

    def report(self, results):
        table = Table(
            [
                "vertices",
                "latent space",
                "method",
                "settings",
                "epochs",
                "ms an update",
                "test ELBO",
                "F1, samples (%)",
                "F1, MAP (%)",
                "F1, samples, of every run (%)",
                "paper: ELBO",
                "paper: F1 (%)",
            ]
        )
        part = None
        for size, space, method in self._rows():
            place = size.num_vertices, SPACES[space]
            if part != place:
                self._add_trivial(table, place, results)
                part = place
            search = self._search(size, space, method, results)
            runs = [] if search is None else self._restarts(size, search, results)
            found = [min(group, key=_validation) for group in runs]
            option = None if search is None else search.best(results)
            table.add(
                *place,
                method.label,
                None if option is None else _option_text(method, option),
                Mean.of([r["history"][-1]["epoch"] for r in found], 0),
                self._milliseconds(size, method, option, results),
                Mean.of([-r["scores"]["test"]["neg_elbo"] for r in found], 0),
                Mean.of([100 * r["scores"]["test"]["sample_edge_f1"] for r in found]),
                Mean.of([100 * r["scores"]["test"]["edge_f1"] for r in found]),
                ", ".join(_percent(r, "sample_edge_f1") for g in runs for r in g),
                *method.paper[space],
            )
        return Report(
            setting=self._setting(),
            tables=[table],
            notes=[
                "ELBO per vertex, with one hard sample and the true position given at "
                "every step; KL between the Gumbel laws of the perturbed edges, each "
                "edge counted in both directions, as Paulus et al. The model of the "
                "best validation ELBO counts. F1 of edges in the direct reading: what "
                "the model calls an edge is one. Mean ± standard deviation over seeds.",
            ],
        )

    def _rows(self) -> list[tuple[Size, str, Method]]:
        return [
            (size, space, method)
            for size in self.scale.sizes
            for space in size.spaces
            for method in METHODS
            if size.methods is None or method.key in size.methods
        ]

    def _setting(self) -> str:
        scale = self.scale
        times = [
            f"as many epochs as take {size.seconds:.0f} s of processor time at "
            f"{size.num_vertices} vertices"
            for size in scale.sizes
            if size.seconds is not None and not self.settings.smoke
        ]
        time = ", ".join(times) or f"{scale.epochs} epochs"
        reduced = "" if self.settings.scale == "paper" else "Reduced: "
        vertices = " and ".join(str(size.num_vertices) for size in scale.sizes)
        restarts = "".join(
            f"; at {size.num_vertices} vertices {size.restarts} runs a seed, from "
            "other initial weights, all of that time, of which the one of the best "
            "validation ELBO counts"
            for size in scale.sizes
            if size.restarts > 1
        )
        silent = (
            "alone, absent ones send none" if scale.skip_first else "and absent ones"
        )
        return (
            f"{reduced}{vertices} vertices (paper: 10), width {scale.hidden_units} "
            f"(256), {scale.num_train:,} graphs (50,000), batch {scale.batch_size} "
            f"(128), {time} (50,000 updates), learning rate among "
            f"{', '.join(f'{rate:g}' for rate in scale.learning_rates)}; "
            f"{scale.prediction_steps}-step predictions in training (3); messages of "
            f"edges {silent}; seeds {', '.join(map(str, scale.seeds))}{restarts}."
        )

    def _options(self, method: Method) -> list[tuple[float, float | None]]:
        values = method.values(self.settings.scale)
        if self.settings.smoke:
            values = values[:1]
        return [(rate, value) for value in values for rate in self.scale.learning_rates]

    def _search(
        self, size: Size, space: str, method: Method, results: Results
    ) -> Search | None:
        """Returns the runs of a row; None before the time of its updates is known."""
        first, first_space = next(
            (size, space) for size, space, m in self._rows() if m == method
        )
        like = None
        if (size, space) != (first, first_space):
            like = self._search(first, first_space, method, results)
            if like is None:
                return None
        if any(results.get(run.name) is None for run in self._timings(size, method)):
            return None

        def make(option, seed: int, short: bool) -> TrainingRun:
            share = size.search_share if short else method.time
            epochs = self._epochs(size, method, option, results, share=share)
            return self._run(size, space, method, option, epochs=epochs, seed=seed)

        return Search(
            make=make,
            options=self._options(method),
            seeds=range(len(self.scale.seeds) * size.restarts),
            score=_validation,
            like=like,
        )

    def _seconds(self, size: Size) -> float | None:
        return None if self.settings.smoke else size.seconds

    def _restarts(
        self, size: Size, search: Search, results: Results
    ) -> list[list[Result]]:
        """Returns what is there of the runs of each seed."""
        found = search.found_by_seed(results)
        groups = [
            [
                found[seed]
                for seed in range(first, first + size.restarts)
                if seed in found
            ]
            for first in range(0, len(search.seeds), size.restarts)
        ]
        return [group for group in groups if group]

    def _epochs(
        self, size: Size, method: Method, option, results: Results, *, share: float
    ) -> int:
        seconds = self._seconds(size)
        if seconds is None:
            return max(1, round(self.scale.epochs * min(share, 1.0)))
        updates = share * seconds / self._timed(size, method, option, results)
        return max(1, round(updates * self.scale.batch_size / self.scale.num_train))

    def _timings(self, size: Size, method: Method) -> list[FunctionRun]:
        """Returns what measures how many updates the time is enough for."""
        if self._seconds(size) is None:
            return []
        values = method.values(self.settings.scale)
        return [self._timing(size, method, value) for value in values]

    def _timing(self, size: Size, method: Method, value) -> FunctionRun:
        # The space makes little difference.
        run = self._run(size, size.spaces[0], method, (1e-3, value), epochs=1, seed=0)
        return FunctionRun(
            name="time-" + run.name.split("-epochs")[0],
            function="tfnes.experiments.reproduce.timings:time_configuration",
            arguments={
                "gin_files": list(run.gin_files),
                "bindings": list(run.bindings),
                "repetitions": 20,
            },
        )

    def _timed(self, size: Size, method: Method, option, results: Results) -> float:
        """Returns the processor seconds of an update."""
        result = results[self._timing(size, method, option[1]).name]
        assert result is not None  # `_search` has looked
        return result["processor"]

    def _run(
        self, size: Size, space: str, method: Method, option, *, epochs, seed
    ) -> TrainingRun:
        scale, (rate, value) = self.scale, option
        name = (
            f"nri-{space}-n{size.num_vertices}-width{scale.hidden_units}-{method.key}"
        )
        data = str(self.settings.output_dir.absolute() / "graphs")
        bindings = [
            f"GraphLayout.num_vertices = {size.num_vertices}",
            f"GraphLayout.num_train = {scale.num_train}",
            f"GraphLayout.num_validation = {scale.num_test}",
            f"GraphLayout.num_test = {scale.num_test}",
            f"GraphLayout.cache_dir = {data!r}",
            f"NRI.hidden_units = {scale.hidden_units}",
            f"NRI.prediction_steps = {scale.prediction_steps}",
            f"NRI.skip_first = {scale.skip_first}",
            f"BATCH_SIZE = {scale.batch_size}",
            f"EPOCHS = {epochs}",
            f"LEARNING_RATE = {rate:g}",
            "train.pictures = 0",
        ]
        if space == "edges":
            bindings += [
                "NRI.structure = @Subset()",
                f"Subset.k = {size.num_vertices - 1}",
            ]
        if value is not None and method.macro is not None:
            name += f"-{method.macro.lower()}{value:g}"
            bindings.append(f"{method.macro} = {value:g}")
        return TrainingRun(
            name=f"{name}-epochs{epochs}-rate{rate:g}-seed{seed}",
            gin_files=(f"{FOLDER}/{method.config}.gin",),
            bindings=tuple(bindings),
            seed=seed,
        )

    def _milliseconds(
        self, size: Size, method: Method, option, results: Results
    ) -> float | None:
        if option is None or self._seconds(size) is None:
            return None
        return 1e3 * self._timed(size, method, option, results)

    def _add_trivial(self, table: Table, place, results: Results) -> None:
        """Adds what needs no model, from any run on data of so many vertices."""
        num_vertices, _ = place
        for name, result in results.items():
            test = (result or {}).get("baselines", {}).get("test", {})
            if test and f"-n{num_vertices}-" in name:
                elbo = -test["copy_last_frame_neg_elbo"]
                f1 = 100 * test["random_graph_edge_f1"]
                break
        else:
            elbo = f1 = None
        rest = [None] * 2
        table.add(*place, "last frame copied", *[None] * 3, elbo, *rest, "", *rest)
        table.add(*place, "random graph", *[None] * 4, f1, f1, "", *rest)


def _validation(result: Result) -> float:
    return result["scores"]["validation"]["neg_elbo"]


def _percent(result: Result, name: str) -> str:
    return f"{100 * result['scores']['test'][name]:.0f}"


def _option_text(method: Method, option: tuple[float, float | None]) -> str:
    rate, value = option
    text = f"rate {rate:g}"
    if value is not None and method.macro is not None:
        text += f", {method.macro.lower().replace('_', ' ')} {value:g}"
    return text
