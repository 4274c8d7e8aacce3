"""Data for the tests: real files where they are, generated ones everywhere."""

import os
from pathlib import Path

import pytest

from tfnes.datasets import DemoTreebank


@pytest.fixture(scope="session")
def real_data():
    """The folder of real treebanks and vectors; skips where there is none."""
    beside = Path(__file__).parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("TFNES_DATA_DIR") or beside)
    if not (folder / "ud").is_dir():
        pytest.skip("no real treebanks: set TFNES_DATA_DIR to run this test")
    return folder


@pytest.fixture(scope="session")
def demo():
    return DemoTreebank()


@pytest.fixture(scope="session")
def demo_files(demo, tmp_path_factory):
    """The folder into which the demo treebank was written as a UD release."""
    folder = tmp_path_factory.mktemp("release")
    demo.write_conllu(folder)
    return folder
