"""The README: its table is true, its Python runs, its commands and links exist.

`python tests/docs/test_readme.py` prints the table, to be copied into the README.
"""

import pathlib
import re
import shlex

import keras
import pytest

import tfnes
from tfnes import estimators, structures
from tfnes.errors import UnsupportedStructureError

ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# What the constructors of the classes need.
STRUCTURES = {
    "Subset": lambda: structures.Subset(2),
    "LinearChain": lambda: structures.LinearChain(2),
    "BlackBox": lambda: structures.BlackBox(lambda scores, length: scores > 0),
}
ESTIMATORS = {
    "HybridNES": lambda: estimators.HybridNES(encoder=estimators.NES()),
    "REINFORCE": lambda: estimators.REINFORCE(control_variate=estimators.BatchMean()),
}
# Has no demands on the structure.
LEFT_OUT = {"Supervised"}


class AnyModel(tfnes.models.StructuredVAE):
    """A model of any structure; it is compiled and not run."""

    def encode(self, batch, *, training=False):
        return batch["x"]

    def log_likelihood(self, batch, latent, *, training=False):
        return batch["x"]


def library(kind):
    """Returns the library's own classes; tests register others."""
    return {
        name: cls
        for name, cls in tfnes.registered(kind).items()
        if cls.__module__.startswith("tfnes.")
    }


def columns():
    made = {
        name: ESTIMATORS.get(name, cls)
        for name, cls in library("estimator").items()
        if name not in LEFT_OUT
    }
    gibbs = 'REINFORCE, `density="structure"`'
    made[gibbs] = lambda: estimators.REINFORCE(
        control_variate=estimators.BatchMean(), density="structure"
    )
    first = ["NES", "HybridNES", "REINFORCE", "NVIL", gibbs]
    return {name: made.pop(name) for name in first} | made


def can(structure, estimator):
    try:
        AnyModel(structure).compile(keras.optimizers.SGD(), estimator)
    except UnsupportedStructureError:
        return False
    return True


def table():
    makers = columns()
    head = " | ".join(name.replace("`", "") for name in makers)
    lines = [f"| | {head} |", "|---" * (len(makers) + 1) + "|"]
    for name, cls in library("structure").items():
        structure = STRUCTURES.get(name, cls)()
        cells = ["✓" if can(structure, make()) else "–" for make in makers.values()]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_the_table_is_what_compile_says():
    assert table() in README


def test_its_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = "source_train=16, target_train=8, target_test=8, vector_dimension=8"
    units = "embedding_size=8, hidden_size=8, scorer_size=8, decoder_size=8"
    smaller = {
        "DemoTreebank()": f"DemoTreebank({sizes})",
        "(projective=True))": f"(projective=True), {units})",
        "epochs=5": "epochs=1",
        "population_size=100": "population_size=2",
    }
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", README, re.S | re.M):
        for old, new in smaller.items():
            block = block.replace(old, new)
        exec(compile(block, "README", "exec"), names)
    assert (tmp_path / "parser.keras").is_file()
    assert len(README.splitlines()) <= 150
    first = re.search(r"^```python\n(.*?)^```", README, re.S | re.M).group(1)
    assert len([line for line in first.splitlines() if line.strip()]) <= 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_flags_and_files_of_its_commands_exist(page):
    text = page.read_text("utf-8").replace("\\\n", " ")
    commands = re.findall(r"^ *(?:echo .* \| )?bin/(\w+) (.*?)(?: +#.*)?$", text, re.M)
    for program, words in commands:
        paths = [f"{program}.py", "experiments/command_line.py"]
        source = "".join((ROOT / "tfnes" / path).read_text("utf-8") for path in paths)
        for word in shlex.split(words) if program != "benchmark" else ():
            flag, _, value = word.partition("=")
            if flag.startswith("--") and not flag.startswith("--gin."):
                assert f'"{flag}"' in source, f"{program} has no {flag}"
            if flag == "--gin_file" and "/" in value:
                assert (ROOT / value).is_file(), value


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target


if __name__ == "__main__":
    print(table())
