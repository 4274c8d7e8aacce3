"""Studies: what is skipped, resumed, given up and reported; and those of the paper."""

import dataclasses
import json
import math
import os
import pathlib
import signal
import threading
import time

import gin
import numpy as np
import pytest
import studies as toy_studies
from made_images import write_images

import tfnes
from tfnes.experiments import catalog, configuration
from tfnes.experiments.interruption import Interrupted
from tfnes.experiments.reproduce import (
    bootstrap,
    figure2,
    images,
    parsing,
    table1,
    table2,
    table3,
)
from tfnes.experiments.reproduce import studies as paper_studies
from tfnes.experiments.reproduce.curves import Curve, Panel, draw_panels
from tfnes.experiments.reproduce.report import Mean, Report, Table, write_report
from tfnes.experiments.reproduce.runner import Runner
from tfnes.experiments.reproduce.runs import FunctionRun, Settings, TrainingRun
from tfnes.experiments.reproduce.study import reproduce
from tfnes.reproduce import main

HERE = pathlib.Path(__file__).parent


@pytest.fixture(autouse=True)
def workers_find_the_toy(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))


@pytest.fixture
def settings(tmp_path):
    return Settings(scale="cpu", output_dir=tmp_path / "out", command="bin/reproduce x")


def read_json(settings, name="squares"):
    return json.loads((settings.output_dir / f"{name}.json").read_text("utf-8"))


def calls(settings):
    return (settings.output_dir.parent / "calls").read_text("utf-8").split()


def test_runs_once_and_goes_on_with_what_the_results_ask_for(settings, capsys):
    assert reproduce(toy_studies.Squares(settings)) == 0
    out = capsys.readouterr().out
    assert "[1/2] square-3: done" in out
    assert "[3/3] square-25: done" in out
    value = read_json(settings)
    assert value["tables"][0]["rows"][0]["value"]["values"] == [9.0, 16.0, 625.0]
    assert value["incomplete"] == []
    assert value["command"] == "bin/reproduce x"
    text = (settings.output_dir / "squares.md").read_text("utf-8")
    assert "| squares | 216.7 ± 353.6 |" in text
    # Again: nothing is run, and the report is the same.
    assert reproduce(toy_studies.Squares(settings)) == 0
    assert "started" not in capsys.readouterr().out
    assert calls(settings) == ["3", "4", "25"]
    assert read_json(settings)["tables"] == value["tables"]


def test_a_failing_run_does_not_stop_the_others(settings, capsys, monkeypatch):
    monkeypatch.setattr(toy_studies.Squares, "numbers", (13, 4))
    two = dataclasses.replace(settings, jobs=2)
    assert reproduce(toy_studies.Squares(two)) == 1
    out, err = capsys.readouterr()
    assert "FAILED square-13: exit status 1: ValueError: thirteen" in err
    assert "1 of 2 runs failed" in err
    assert "**Incomplete**: without square-13." in out
    assert read_json(settings)["incomplete"] == ["square-13"]
    # The next time only this one is tried again.
    monkeypatch.setenv("TOY_LUCKY", "1")
    assert reproduce(toy_studies.Squares(two)) == 0
    assert sorted(calls(settings)) == ["13", "13", "185", "4"]


def test_only_leaves_runs_out(settings, capsys):
    some = dataclasses.replace(settings, only=("-4",))
    assert reproduce(toy_studies.Squares(some)) == 0
    assert "left out 1 runs" in capsys.readouterr().out
    assert calls(settings) == ["4"]


def test_a_run_over_its_limit_is_given_up_for_good(settings, capsys):
    start = time.monotonic()
    assert reproduce(toy_studies.Slow(settings)) == 0
    assert time.monotonic() - start < 50
    assert "slow: done" in capsys.readouterr().out
    assert read_json(settings)["tables"][0]["rows"][0]["over the limit"] == 2.0
    assert reproduce(toy_studies.Slow(settings)) == 0
    assert "started" not in capsys.readouterr().out


def test_other_arguments_under_the_same_name_are_refused(settings, capsys):
    study = toy_studies.Squares(settings)
    assert reproduce(study) == 0
    path = settings.output_dir / "runs" / "square-3" / "arguments.json"
    path.write_text(path.read_text("utf-8").replace("3", "5", 1), "utf-8")
    assert reproduce(study) == 1
    assert "holds a result of other arguments" in capsys.readouterr().err


def test_a_killed_training_run_is_resumed(settings, tmp_path, monkeypatch, capsys):
    whole = dataclasses.replace(settings, output_dir=tmp_path / "whole")
    assert reproduce(toy_studies.Training(whole)) == 0
    monkeypatch.setenv("TOY_STOP", "SIGKILL@13")
    assert reproduce(toy_studies.Training(settings)) == 1
    assert "ended by SIGKILL" in capsys.readouterr().err
    assert read_json(settings)["incomplete"] == ["toy"]
    monkeypatch.delenv("TOY_STOP")
    assert reproduce(toy_studies.Training(settings)) == 0
    assert "Resuming" in (settings.output_dir / "logs/toy.log").read_text("utf-8")
    table = read_json(settings)["tables"]
    assert table == read_json(whole)["tables"]
    assert math.isfinite(table[0]["rows"][0]["test -ELBO"])


def test_a_signal_stops_the_processes(settings, capsys):
    study = toy_studies.Slow(settings)
    timer = threading.Timer(0.8, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    with pytest.raises(Interrupted):
        reproduce(study)
    assert not (settings.output_dir / "runs/slow/result.json").exists()


def test_mean_and_table():
    assert str(Mean((2.0, 4.0), 2)) == "3.00 ± 1.41"
    assert str(Mean((2.0,))) == "2.0 (one seed)"
    assert str(Mean.of([None, None])) == "–"
    table = Table(["a", "b"])
    table.add(None, 1.25)
    assert table.markdown().splitlines()[-1] == "| – | 1.2 |"
    with pytest.raises(ValueError, match="2 cells"):
        table.add("x")


def test_a_bar_in_a_cell_does_not_end_the_cell():
    table = Table(["|g - k|", "n"])
    table.add("x|y", 1)
    assert table.markdown().splitlines()[0] == r"| \|g - k\| | n |"
    assert table.markdown().splitlines()[2] == r"| x\|y | 1 |"


def test_report_writes_pictures(settings):
    panel = Panel("t", "x", "y", {"NES": [Curve([1, 2], [2.0, 1.0])]}, {"mean": 1.5})
    band = dataclasses.replace(panel, bands=True, log_x=True)
    report = Report(
        setting="Toy.",
        tables=[],
        figures={"": draw_panels([panel, panel, band], columns=2)},
        data={"nan": float("nan")},
    )
    text = write_report(
        report, name="toy", title="Toy", settings=settings, seconds=1, incomplete=[]
    )
    assert "![toy](toy.svg)" in text
    assert "NES" in (settings.output_dir / "toy.svg").read_text("utf-8")
    assert (settings.output_dir / "toy.png").stat().st_size > 1000
    assert read_json(settings, "toy")["data"] == {"nan": None}


@pytest.mark.parametrize("name", sorted(paper_studies.STUDIES))
@pytest.mark.parametrize("scale", ["cpu", "paper"])
def test_dry_run_shows_the_runs_and_makes_none(name, scale, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [name, f"--scale={scale}", f"--output_dir={out}", "--dry_run"]
    assert main([*arguments, f"--data_dir={tmp_path}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines if line.endswith("(to do)")]
    assert names and len(set(names)) == len(names)
    assert not out.exists()


@pytest.mark.parametrize("name", sorted(paper_studies.STUDIES))
@pytest.mark.parametrize("scale", ["cpu", "paper"])
def test_runs_set_macros_that_their_files_have(name, scale, settings):
    catalog.register_all()
    study = paper_studies.load(name)(dataclasses.replace(settings, scale=scale))
    names = {}
    for run in study.runs():
        if isinstance(run, TrainingRun):
            macros = [
                b.split(" = ")[0] for b in run.bindings if b.split(" ")[0].isupper()
            ]
            names.setdefault(run.gin_files, set()).update(macros)
    for files, macros in names.items():
        configuration.parse(files)
        text = gin.config_str()
        for macro in macros:
            assert f"\n{macro} = " in text, f"{files} have no {macro}"
    gin.clear_config()


def test_unknown_study(capsys):
    assert main(["figure9"]) == 2
    assert "figure4" in capsys.readouterr().err
    assert main(["--list"]) == 0
    assert "table3" in capsys.readouterr().out


def fake_results(study, neg_elbo):
    """Makes up all results; returns them when the study asks for no more."""
    results = {}
    while True:
        new = [r for r in study.more_runs(results) if r.name not in results]
        if not new:
            return results
        for run in new:
            scores = {images.OBJECTIVE: neg_elbo(run), images.ARGMAX: 1.0}
            scores |= {"used_codes": 9.0, "kl": 2.0}
            results[run.name] = {"scores": {"validation": scores, "test": scores}}


@pytest.fixture
def search_of_table3(settings, monkeypatch):
    """Table 3 with all N, four widths and a choice of rates, on a small scale."""
    sizes = dataclasses.replace(table3.SIZES["paper"], widths=(16, 32, 64, 128))
    monkeypatch.setitem(table3.SIZES, "cpu", sizes)
    scale = images.SCALES["cpu"]
    rates = {"learning_rates": (1e-3, 3e-3), "search_epochs": 5, "epochs": 20}
    monkeypatch.setitem(images.SCALES, "cpu", dataclasses.replace(scale, **rates))
    return table3.Table3(settings)


def test_table3_finds_the_smallest_population(search_of_table3):
    study = search_of_table3

    def neg_elbo(run):
        rate = 0.0 if "rate0.003" in run.name else 1.0
        if "gumbel" in run.name:
            return 240.0 + rate
        population = int(run.name.split("nes-n")[1].split("-")[0])
        width = int(run.name.split("-width")[1].split("-")[0])
        return 240.0 + rate + (0.5 if population < width else -0.5)

    results = fake_results(study, neg_elbo)
    rows = study.report(results).tables[0].to_json()["rows"]
    assert [row["N"] for row in rows[:4]] == ["20", "40", "80", "150"]
    assert [row["N"] for row in rows[4:]] == ["16", "32", "64", "128"]
    growth = [None, "+100 %", "+100 %", "+88 %"]
    assert [row["growth of N"] for row in rows[:4]] == growth
    # All seeds at the best rate only.
    assert {n.split("-rate")[1] for n in results if "epochs20" in n} == {
        f"0.003-seed{seed}" for seed in range(3)
    }


def test_table3_says_when_no_population_is_enough(search_of_table3):
    study = search_of_table3
    results = fake_results(study, lambda run: 1.0 if "gumbel" in run.name else 2.0)
    rows = study.report(results).tables[0].to_json()["rows"]
    assert [row["N"] for row in rows] == ["> 400"] * 4 + ["> 128"] * 4
    rows = study.report({}).tables[0].to_json()["rows"]
    assert {(row["N"], row["collapsed"]) for row in rows} == {(None, None)}


def test_figure2_goes_on_until_the_limit_and_fits_exponents(settings):
    study = figure2.Figure2(dataclasses.replace(settings, scale="paper"))
    results = {}
    while new := [r for r in study.more_runs(results) if r.name not in results]:
        for run in new:
            n, method = run.arguments["size"], run.arguments["method"]
            seconds = 1e-4 * n ** (3 if method == "dpp" else 1)
            if seconds > 100:
                results[run.name] = {"over_limit": 3600.0}
            else:
                times = {"wall": [seconds] * 2, "processor": [0.0]}
                results[run.name] = {**times, "peak_gib": 1.0}
    rows = study.report(results).tables[0].to_json()["rows"]
    found = {row["method"]: row for row in rows}
    assert found["NES with Eisner (N = 4)"]["exponent, n ≥ 25"] == "1.00"
    assert found["NES with Eisner (N = 4)"]["largest n"] == 250
    assert found["perturb-and-parse (DPP)"]["exponent, n ≥ 25"] == "3.00"
    largest = found["perturb-and-parse (DPP)"]["largest n"]
    assert largest == "100 (next: not within the limit)"
    assert found["perturb-and-parse (DPP)"]["n = 250"] is None
    del results["time-dpp-batch32-n110"]
    rows = study.report(results).tables[0].to_json()["rows"]
    found = {row["method"]: row for row in rows}
    assert found["perturb-and-parse (DPP)"]["largest n"] == "100 (next: not run)"
    # One size beyond the last was tried, and no more.
    assert sum("dpp" in name for name in results) == 10


def test_figure2_smoke(tmp_path):
    out = tmp_path / "out"
    assert main(["figure2", "--smoke", f"--output_dir={out}", "--only=time-mcmc"]) == 0
    value = json.loads((out / "figure2.json").read_text("utf-8"))
    assert value["data"]["mcmc"]["5"]["wall"][0] > 0


def test_table1_gives_every_method_the_same_time_and_restarts(settings):
    study = table1.Table1(settings)
    results = {}
    while new := [r for r in study.more_runs(results) if r.name not in results]:
        for run in new:
            if run.name.startswith("time-"):
                results[run.name] = {"processor": 0.1 if "-nes-" in run.name else 0.01}
                continue
            seed = int(run.name.split("-seed")[1])
            bad = "rate0.003-" in run.name or ("-n8-" in run.name and seed % 2)
            scores = {"neg_elbo": 1300.0 if bad else 1200.0}
            scores |= {"edge_f1": 0.9, "sample_edge_f1": 0.1 if bad else 0.8}
            results[run.name] = {
                "scores": {"validation": scores, "test": scores},
                "baselines": {},
                "history": [
                    {"epoch": float(run.name.split("-epochs")[1].split("-")[0])}
                ],
            }
    rows = study.report(results).tables[0].to_json()["rows"]
    assert {(r["vertices"], r["latent space"]) for r in rows} == {
        (8, "spanning tree"),
        (5, "spanning tree"),
        (5, "n − 1 individual edges"),
    }
    small, restarted = (
        {
            r["method"]: r
            for r in rows
            if r["vertices"] == n and "tree" in r["latent space"]
        }
        for n in (5, 8)
    )
    # 6 s are 600 or 60 updates of 16 of 8,000 graphs, 25 s are 2,500.
    assert small["NVIL"]["epochs"]["values"] == [1.0] * 3
    assert small["NES"]["epochs"]["values"] == [1.0] * 3
    assert small["NES"]["paper: F1 (%)"] == "92 ± 0.2"
    assert restarted["SST"]["epochs"]["values"] == [5.0] * 3
    (hybrid,) = (r for name, r in restarted.items() if name.startswith("Hybrid"))
    assert hybrid["epochs"]["values"] == [10.0] * 3
    # The worse one of two runs counts nowhere but in the list of all.
    assert restarted["SST"]["settings"] == "rate 0.001, temperature 1"
    assert restarted["SST"]["test ELBO"]["mean"] == -1200
    assert restarted["SST"]["F1, samples (%)"]["mean"] == 80
    every = restarted["SST"]["F1, samples, of every run (%)"]
    assert every == "80, 10, 80, 10, 80, 10"


def test_time_of_a_configuration(settings, capsys):
    run = FunctionRun(
        "time-toy",
        "tfnes.experiments.reproduce.timings:time_configuration",
        {"gin_files": [toy_studies.TOY], "bindings": [], "repetitions": 2},
    )
    runner = Runner(settings)
    runner.run_all([run])
    assert not runner.failed
    assert 0 < runner.results["time-toy"]["best"] < 10


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


def test_collapse_is_seen():
    def result(codes, neg_elbo):
        scores = {"used_codes": codes, images.OBJECTIVE: neg_elbo}
        return {"scores": {"test": scores}}

    good, one, bad = result(8.0, 240.0), result(1.0, 240.0), result(5.0, 383.0)
    assert images.collapsed_text([good], 382.0) == "no"
    assert images.collapsed_text([good, one, bad], 382.0) == "**2 of 3**"


def test_figure4_smoke(tmp_path, capsys):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, size=(120, 28, 28, 1), dtype=np.uint8)
    write_images(tmp_path / "tfds", "kmnist", pixels[:90], pixels[90:])
    arguments = [
        "figure4",
        "--smoke",
        f"--data_dir={tmp_path / 'tfds'}",
        f"--output_dir={tmp_path / 'out'}",
        "--only=kmnist-nes",
        "--only=kmnist-trivial",
    ]
    assert main(arguments) == 0
    value = json.loads((tmp_path / "out" / "figure4.json").read_text("utf-8"))
    rows = [row for row in value["tables"][0]["rows"] if row["data"] == "KMNIST"]
    measured = {r["method"]: r["test −ELBO, exact expectation"] for r in rows}
    assert measured["one mean image"] > measured["ten clusters + log 10"] - 50
    label = images.nes(images.SCALES["cpu"]).label
    assert measured[label]["mean"] > 400
    assert (tmp_path / "out" / "figure4.png").exists()
