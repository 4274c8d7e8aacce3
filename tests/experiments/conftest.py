"""Runs of the toy, in this process or in one of its own."""

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
TOY = str(HERE / "toy.gin")


@pytest.fixture(autouse=True)
def toy_is_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture
def train_toy(capfd):
    """Runs `train` on the toy; returns exit status, standard output and error."""

    def run(output_dir, *arguments):
        from tfnes.train import main

        capfd.readouterr()
        status = main([f"--gin_file={TOY}", f"--output_dir={output_dir}", *arguments])
        out, err = capfd.readouterr()
        print(err)  # shown where a test fails
        return status, out, err

    return run


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def undisturbed(folder, train_toy):
    """The toy's run directory, trained without being disturbed."""
    run = folder / "undisturbed"
    status, _, _ = train_toy(run)
    assert status == 0
    return run


@pytest.fixture
def train_toy_until():
    """Runs `train` on the toy in a process to which something happens at some update.

    See `toy.StopAt` for what may happen.
    """

    def run(output_dir, *arguments, update, what="SIGKILL"):
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(HERE), environment.get("PYTHONPATH", "")]
        )
        environment["TOY_STOP"] = f"{what}@{update}"
        environment["TOY_DIRECTORY"] = str(output_dir)
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "tfnes.train",
                f"--gin_file={TOY}",
                f"--output_dir={output_dir}",
                *arguments,
            ],
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
        )

    return run


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Settings of a study whose processes find the toy."""
    from tfnes.experiments.reproduce.runs import Settings

    monkeypatch.setenv("PYTHONPATH", str(HERE))
    return Settings(scale="cpu", output_dir=tmp_path / "out", command="bin/reproduce x")
