"""Imports between the packages go one way, and no module is imported too early."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

import tfnes

PACKAGE = pathlib.Path(tfnes.__file__).parent

# A module may import, at its top, from its own layer's line and from lines above.
LAYERS = (
    ("errors", "registration", "typing"),
    ("checks", "files", "random"),
    ("solvers", "theory"),
    ("structures",),
    ("models",),
    ("estimators",),
    ("datasets", "metrics", "plotting"),
    ("callbacks", "export", "testing"),
    ("experiments",),
    ("train", "evaluate", "predict", "reproduce", "benchmark"),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# Leaves: what they may import beside the foundations.
LEAVES = {"datasets": {"datasets"}, "metrics": {"metrics"}, "plotting": {"plotting"}}
FOUNDATIONS = {"checks", "errors", "registration", "typing", "files", "random"}


def imported_parts(path):
    """Yields the first-level names in tfnes that a module imports when it is loaded."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    todo = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue  # imported when it is called
        todo += [child for child in ast.iter_child_nodes(node)]
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "tfnes" and len(parts) > 1 and parts[1] in LEVEL:
                yield parts[1]


MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"
)


@pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_imports_go_one_way(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in LEVEL, f"{own} is not in the list of layers of this test"
    for part in imported_parts(path):
        assert LEVEL[part] <= LEVEL[own], f"{own} must not import {part}"
        if own in LEAVES:
            assert part in LEAVES[own] | FOUNDATIONS, f"{own} must not import {part}"


PACKAGES = sorted(path.parent for path in PACKAGE.rglob("__init__.py"))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_table_of_contents_is_true(package):
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text("utf-8")))
    modules = {path.stem for path in package.glob("[!_]*.py")}
    modules |= {path.parent.name for path in package.glob("*/__init__.py")}
    assert modules <= set(re.findall(r"\w+", text))
    heads = re.findall(r"^\* ((?:`\w+`(?:, )?)+): ", text, re.MULTILINE)
    named = {name for head in heads for name in re.findall(r"\w+", head)}
    assert named <= modules


def test_public_names_are_lazy_all_there_and_come_without_warnings():
    code = (
        "import sys, tfnes\n"
        "assert not {'tensorflow', 'keras', 'gin'} & set(sys.modules)\n"
        "missing = []\n"
        "for name in tfnes.__all__:\n"
        "    getattr(tfnes, name)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    subprocess.run(command, check=True, timeout=120)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = tfnes.nothing_of_the_kind
