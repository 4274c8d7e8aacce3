"""The training program: flags, exit codes, messages."""

import pathlib
import subprocess
import sys
import sysconfig
import time

import pytest

import tfnes.evaluate
import tfnes.predict
import tfnes.train

ROOT = pathlib.Path(tfnes.__file__).parents[1]
PROGRAMS = ["train", "evaluate", "predict", "reproduce", "benchmark"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_comes_at_once_and_without_tensorflow(program):
    code = (
        "import sys, time\n"
        "start = time.perf_counter()\n"
        f"from tfnes.{program} import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "except SystemExit as stop:\n"
        "    assert stop.code == 0\n"
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)\n"
    )
    start = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    seconds = time.perf_counter() - start
    assert process.returncode == 0, process.stderr
    assert "usage:" in process.stdout
    # A tenth of a second on an idle machine; tests run on a busy one.
    assert seconds < 3


@pytest.mark.parametrize("program", PROGRAMS)
def test_bin_runs_the_program(program):
    script = ROOT / "bin" / program
    if not script.exists():
        pytest.skip("not a checkout")
    process = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True
    )
    assert process.returncode == 0
    assert f"usage: {program}" in process.stdout


def test_bin_needs_no_installation_of_tfnes_itself():
    script = ROOT / "bin" / "train"
    if not script.exists():
        pytest.skip("not a checkout")
    # -S leaves out site-packages, and with it an installed tfnes.
    command = [sys.executable, "-S", str(script), "--help"]
    packages = {"PYTHONPATH": sysconfig.get_path("purelib")}
    done = subprocess.run(command, env=packages, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(command, env={}, capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install -e" in done.stderr


def test_without_a_configuration(capsys):
    assert tfnes.train.main([]) == 2
    assert "give --gin_file=" in capsys.readouterr().err


def test_missing_configuration(capsys):
    assert tfnes.train.main(["--gin_file=nowhere.gin"]) == 2
    err = capsys.readouterr().err
    assert "nowhere.gin" in err
    assert "Traceback" not in err


def test_incomplete_configuration(capsys, tmp_path):
    arguments = ["--gin_param=train.seed=1", f"--output_dir={tmp_path / 'run'}"]
    assert tfnes.train.main(arguments) == 2
    assert "does not say what train.model is" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_odd_population_is_refused_before_anything(capsys, tmp_path):
    run = tmp_path / "run"
    status = tfnes.train.main(
        [
            "--gin_file=gin_configs/parser_nes.gin",
            "--gin_param=POPULATION_SIZE=401",
            f"--output_dir={run}",
        ]
    )
    err = capsys.readouterr().err
    assert status == 2
    assert err.startswith("Error: NES.population_size must be even")
    assert "Received: 401" in err
    assert "Traceback" not in err
    assert not run.exists()


def test_missing_treebank_is_refused_before_anything(capsys, tmp_path):
    status = tfnes.train.main(
        [
            "--gin_file=gin_configs/parser_nes.gin",
            "--gin_file=gin_configs/datasets/ud_csui_to_gsd.gin",
            f"--data_dir={tmp_path}",
            f"--output_dir={tmp_path / 'run'}",
        ]
    )
    err = capsys.readouterr().err
    assert status == 3
    assert "id_csui-ud-train.conllu" in err
    assert not (tmp_path / "run").exists()


def test_a_directory_of_something_else_is_left_alone(capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    status = tfnes.train.main(
        [
            "--gin_file=gin_configs/parser_nes.gin",
            f"--output_dir={tmp_path}",
        ]
    )
    assert status == 4
    assert "thesis.tex" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_evaluate_and_predict_want_a_run(capsys, tmp_path):
    assert tfnes.evaluate.main([f"--run={tmp_path}"]) == 4
    assert "is not a run directory" in capsys.readouterr().err
    (tmp_path / "x.conllu").write_text("1\ta\t_\t_\t_\t_\t0\troot\t_\t_\n\n")
    arguments = [f"--run={tmp_path}", f"--input={tmp_path / 'x.conllu'}"]
    assert tfnes.predict.main(arguments) == 4
    assert "is not a run directory" in capsys.readouterr().err


def test_bad_input_of_predict_is_one_message(capsys, tmp_path):
    (tmp_path / "x.conllu").write_text("1\ta\t_\t_\n\n")
    arguments = [f"--run={tmp_path}", f"--input={tmp_path / 'x.conllu'}"]
    assert tfnes.predict.main(arguments) == 3
    err = capsys.readouterr().err
    assert "x.conllu" in err
    assert "line 1" in err
    assert "Traceback" not in err
