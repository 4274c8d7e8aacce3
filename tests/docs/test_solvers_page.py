"""The code of docs/solvers.md runs, block after block."""

import pathlib
import re

import tfnes

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "solvers.md"


def test_every_block_runs():
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.S | re.M)
    assert len(blocks) >= 9
    names = {}
    with tfnes.solvers.use_jit_compile(False):
        for number, block in enumerate(blocks):
            exec(compile(block, f"solvers.md, block {number}", "exec"), names)


def test_every_structure_is_in_the_table():
    text = PAGE.read_text()
    for name, cls in tfnes.registration.registered("structure").items():
        if cls.__module__.startswith("tfnes."):
            assert f"`{name}(" in text
