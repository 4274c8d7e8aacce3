"""Table 2."""

import gin
import numpy as np
import pytest

import tfnes
from tfnes.experiments.reproduce import (
    bootstrap,
    parsing,
    table2,
)
from tfnes.experiments.reproduce.runs import FunctionRun, TrainingRun


def fake_parser_result(run, *, seconds=60.0):
    """Returns what the functions of `parsing` would: ten sentences of ten words."""
    if not hasattr(run, "function"):
        return {"scores": {}}
    starts = len(run.arguments["starts"])
    if run.function.endswith("evaluate_starts"):
        one = {"scores": parser_scores(0.60, 6.0), "correct": [6] * 10}
        return {"starts": [one] * starts, "counted": [10] * 10}
    better = "-nes-" in run.name
    uas, loss, right = (0.70, 5.5, 7) if better else (0.55, 5.8, 5.5)
    adapted = {
        "scores": parser_scores(uas, loss),
        "correct": [right] * 10,
        "updates": 4,
        "seconds": seconds,
    }
    return {"rate": 1e-4, "adapted": [adapted] * starts}


def parser_scores(uas, loss):
    scores = {"words_uas": uas, "las": 0.5, "neg_elbo": loss}
    return {"source_dev": scores, "target_test": scores}


def test_table2_compares_each_row_with_its_start(settings):
    study = table2.Table2(settings)
    results = {}
    while new := [r for r in study.more_runs(results) if r.name not in results]:
        for run in new:
            results[run.name] = fake_parser_result(run)
            if isinstance(run, FunctionRun):
                setup = run.name.split("-")[1]
                supervised = study._pretrain(setup, 0)
                assert run.arguments["starts"][0].endswith(f"/runs/{supervised.name}")
    report = study.report(results)
    rows = report.tables[0].to_json()["rows"]
    # Four Galician and Indonesian setups with 12 methods, two Russian ones with 6.
    assert len(rows) == 4 * (2 + 12) + 2 * (2 + 6)
    rows = [r for r in rows if r["target"] == "ID_GSD" and r["decoder"] == "frozen"]
    row = next(r for r in rows if r["method"] == "NES, N = 400")
    assert row["learning rate"] == "0.0001"
    assert row["target test UAS"]["mean"] == pytest.approx(70)
    assert len(row["target test UAS"]["values"]) == 3
    assert row["change of UAS (p)"] == "+10.00 (0.000)"
    assert row["better on source dev"] == "3 of 3"
    assert row["CPU minutes"] == "1.00"
    assert row["paper: UAS"] == "71.41"
    # 20 of the 60 rows are NES with N = 400.
    reading = " ".join(report.notes)
    assert "Of 60 rows that are adapted" in reading
    assert "above the start in 20, with p < 0.05" in reading
    assert "below it in 40" in reading


def test_table2_waits_for_all_starts_of_a_setup(settings):
    study = table2.Table2(settings)
    first = study.more_runs({})
    assert {type(run) for run in first} == {TrainingRun}
    assert len(first) == 4 * 3 + 2
    done = {run.name: {"scores": {}} for run in first if "GL_CTG" in run.name}
    names = {run.name for run in study.more_runs(done)} - {run.name for run in first}
    assert {name.split("-")[1] for name in names} == {"GL_CTG"}
    some = dict(list(done.items())[:2])
    assert len(study.more_runs(some)) == len(first)


@pytest.fixture
def supervised(tmp_path):
    """A run directory that holds a parser for the demo treebank."""
    data = tfnes.datasets.DemoTreebank()
    model = tfnes.models.Parser(tfnes.structures.DependencyTree(projective=True))
    model.adapt(data)
    model.build(next(iter(data.get_dataset("source_dev", batch_size=4))))
    model.save(tmp_path / "best.keras")
    return str(tmp_path)


def test_adaptations_of_one_process_do_not_depend_on_each_other(supervised):
    parser = parsing._Parser(
        supervised,
        gin_files=["gin_configs/parser_nes_fast.gin"],
        bindings=[
            "train.phases = [@adapt/Phase()]",
            "train.model = @saved_model()",
            "saved_model.structure = @DependencyTree()",
            "train.metrics = [@UAS(), @words/UAS()]",
            "words/UAS.name = 'words_uas'",
            "words/UAS.punctuation = False",
        ],
        data_dir=None,
        smoke=True,
    )
    parser.restart(supervised, rate=0.0)
    start = parser.evaluate()
    words = np.array(parser.counted)
    assert len(words) == len(start["correct"]) == 8
    assert (np.array(start["correct"]) <= words).all()

    def adapted(rate, seed):
        found = parser.adapt(supervised, rate=rate, seed=seed, updates=2)
        assert found.pop("seconds") > 0
        assert found.pop("updates") == 2
        return found

    first = adapted(1e-2, 0)
    assert first["scores"]["target_test"] != start["scores"]["target_test"]
    assert adapted(1e-2, 1)["scores"] != first["scores"]
    # Neither weights nor momentum are left of what was before.
    assert adapted(1e-2, 0) == first
    assert adapted(0.0, 0)["scores"] == start["scores"]
    gin.clear_config()


def test_a_row_that_was_stopped_goes_on(tmp_path, monkeypatch):
    class Fake:
        calls = []  # noqa: RUF012

        def __init__(self, start, **settings):
            assert (start, settings) == ("a", {"smoke": False})

        def adapt(self, start, *, rate, seed, updates):
            if len(self.calls) == 3:
                raise KeyboardInterrupt
            self.calls.append((start, rate, seed, updates))
            scores = {"source_dev": {"words_uas": 0.5 + rate, "uas": -rate}}
            return {"scores": scores, "seed": seed}

    monkeypatch.setattr(parsing, "_Parser", Fake)
    arguments = {
        "seeds": [0, 1, 2],
        "rates": [0.1, 0.2],
        "updates": 5,
        "output": str(tmp_path),
        "smoke": False,
    }
    with pytest.raises(KeyboardInterrupt):
        parsing.adapt(["a", "b", "c"], **arguments)
    Fake.calls = Fake.calls[:2]
    result = parsing.adapt(["a", "b", "c"], **arguments)
    assert Fake.calls == [("a", 0.1, 0, 5), ("a", 0.2, 0, 5), ("c", 0.2, 2, 5)]
    assert result["rate"] == 0.2
    assert result["tried"] == {"0.1": 0.6, "0.2": 0.7}
    assert [one["seed"] for one in result["adapted"]] == [0, 1, 2]


def test_bootstrap_sees_a_difference_and_sees_none():
    rng = np.random.default_rng(0)
    counted = rng.integers(5, 30, size=300)
    noise = rng.integers(-2, 3, size=300)
    assert bootstrap.bootstrap(noise, counted, num_samples=999, seed=1)["p"] > 0.05
    better = bootstrap.bootstrap(noise + 1, counted, num_samples=999, seed=1)
    assert better["p"] == pytest.approx(0.002)
    assert better["difference"] == pytest.approx(
        100 * (noise + 1).sum() / counted.sum()
    )
    # Over seeds: the mean of what each got right.
    first, second = [[3, 4], [5, 4]], [[5, 4], [5, 6]]
    found = bootstrap.paired_bootstrap(first, second, [10, 10])
    assert found["difference"] == pytest.approx(100 * (1 + 1) / 20)
