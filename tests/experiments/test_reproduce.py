"""Studies: what is skipped, resumed, given up and reported."""

import dataclasses
import json
import math
import os
import signal
import threading
import time

import gin
import pytest
import studies as toy_studies

from tfnes.experiments import catalog, configuration
from tfnes.experiments.interruption import Interrupted
from tfnes.experiments.reproduce import studies as paper_studies
from tfnes.experiments.reproduce.curves import Curve, Panel, draw_panels
from tfnes.experiments.reproduce.report import Mean, Report, Table, write_report
from tfnes.experiments.reproduce.runs import TrainingRun
from tfnes.experiments.reproduce.study import reproduce
from tfnes.reproduce import main


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
