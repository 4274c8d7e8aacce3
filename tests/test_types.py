"""The types of the package agree (settings in pyproject.toml), and users see them."""

import os
import pathlib
import subprocess
import sys

import pytest

import tfnes

ROOT = pathlib.Path(tfnes.__file__).parents[1]

USE = """
import tfnes

structure = tfnes.structures.DependencyTree(projective=True)
estimator = tfnes.estimators.NES(population_size=4)
estimator.population_size + 1
tfnes.experiments.Phase
tfnes.estimators.NES(population=4)
tfnes.estimators.GES()
"""


def mypy(*arguments, cwd):
    command = [sys.executable, "-m", "mypy", *arguments]
    # It does not see packages that are installed to be edited.
    env = os.environ | {"MYPYPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


@pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="the settings are in the checkout"
)
def test_mypy_finds_nothing(tmp_path):
    done = mypy(f"--cache-dir={tmp_path}", cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_user_s_mistakes_are_found(tmp_path):
    (tmp_path / "use.py").write_text(USE, encoding="utf-8")
    done = mypy(
        "--follow-imports=silent", "--ignore-missing-imports", "use.py", cwd=tmp_path
    )
    assert 'use.py:8: error: Unexpected keyword argument "population"' in done.stdout
    assert 'use.py:9: error: Module has no attribute "GES"' in done.stdout
    assert "Found 2 errors" in done.stdout
