"""Toy studies: functions that a worker can call, and a training run of the toy."""

import os
import pathlib
import time

from tfnes.experiments.reproduce.report import Mean, Report, Table
from tfnes.experiments.reproduce.runs import FunctionRun, TrainingRun
from tfnes.experiments.reproduce.study import Study

TOY = str(pathlib.Path(__file__).parent / "toy.gin")


def square(x, *, calls):
    """Returns x^2, and notes that it was called."""
    with open(calls, "a", encoding="utf-8") as file:
        file.write(f"{x}\n")
    if x == 13 and not os.environ.get("TOY_LUCKY"):
        raise ValueError("thirteen")
    return {"value": x * x}


def sleep(seconds):
    time.sleep(seconds)
    return {"value": 0}


class Squares(Study):
    """The squares of two numbers, and then of their sum of squares."""

    name = "squares"
    title = "Squares"
    search = "the square of the sum"
    numbers = (3, 4)

    def runs(self):
        return [self._run(x) for x in self.numbers]

    def more_runs(self, results):
        known = [results[self._run(x).name] for x in self.numbers]
        if None in known:
            return self.runs()
        return [*self.runs(), self._run(sum(r["value"] for r in known))]

    def report(self, results):
        values = [r["value"] for r in results.values() if r is not None]
        table = Table(["what", "value"])
        table.add("squares", Mean.of(values))
        return Report(setting="Toy.", tables=[table], notes=["A note."])

    def _run(self, x):
        calls = str(self.settings.output_dir.parent / "calls")
        arguments = {"x": x, "calls": calls}
        return FunctionRun(f"square-{x}", "studies:square", arguments)


class Slow(Squares):
    """One run that takes too long."""

    def runs(self):
        run = FunctionRun("slow", "studies:sleep", {"seconds": 60}, limit=2.0)
        return [run, self._run(2)]

    def more_runs(self, results):
        return self.runs()

    def report(self, results):
        table = Table(["run", "over the limit"])
        for name, result in results.items():
            table.add(name, result.get("over_limit"))
        return Report(setting="Toy.", tables=[table])


class Training(Squares):
    """One training run of the toy."""

    def runs(self):
        return [TrainingRun("toy", (TOY,), ("RATE = 0.005",))]

    def more_runs(self, results):
        return self.runs()

    def report(self, results):
        table = Table(["test -ELBO", "rows"])
        for result in results.values():
            if result is not None:
                value = result["scores"]["test"]["neg_elbo"]
                table.add(value, len(result["history"]))
        return Report(setting="Toy.", tables=[table])
