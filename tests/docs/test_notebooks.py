"""The notebooks run, at sizes that take seconds."""

import importlib.util
import pathlib

import matplotlib
import pytest

DOCS = pathlib.Path(__file__).parents[2] / "docs"
NOTEBOOKS = DOCS / "notebooks"
SMALLER = {
    "quickstart": {
        "NUM_IMAGES = 2000": "NUM_IMAGES = 100",
        "EPOCHS = 40": "EPOCHS = 1",
    },
    "own_structure": {"NUM_MAPS = 200": "NUM_MAPS = 8", "EPOCHS = 30": "EPOCHS = 1"},
    "parser": {
        "SOURCE_SENTENCES = 300": "SOURCE_SENTENCES = 20",
        "EPOCHS = 8": "EPOCHS = 1",
        "UNITS = 64": "UNITS = 8",
        "target_train=100": "target_train=8, target_test=12",
        "population_size=20": "population_size=2",
    },
}


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.py")), ids=lambda p: p.stem)
@pytest.mark.usefixtures("without_xla")
def test_it_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    source = path.read_text("utf-8")
    for old, new in SMALLER[path.stem].items():
        assert old in source
        source = source.replace(old, new)
    exec(compile(source, path.name, "exec"), {})


def test_as_markdown():
    spec = importlib.util.spec_from_file_location("hook", DOCS / "hooks/notebooks.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    source = "# ---\n\n# %% [markdown]\n# # A\n#\n# b\n\n# %%\nc = 1\n\n\n# %%\nd\n"
    expected = "# A\n\nb\n\n```python\nc = 1\n```\n\n```python\nd\n```\n"
    assert hook.to_markdown(source) == expected
