"""The types of the package agree (settings in pyproject.toml)."""

import pathlib
import subprocess
import sys

import pytest

import tfnes

ROOT = pathlib.Path(tfnes.__file__).parents[1]


@pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="the settings are in the checkout"
)
def test_mypy_finds_nothing(tmp_path):
    command = [sys.executable, "-m", "mypy", f"--cache-dir={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
