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


@pytest.fixture
def train_toy_until():
    """Runs `train` on the toy in a process that gets a signal at some update."""

    def run(output_dir, *arguments, update, signal="SIGKILL"):
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(HERE), environment.get("PYTHONPATH", "")]
        )
        environment["TOY_STOP"] = f"{signal}@{update}"
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
