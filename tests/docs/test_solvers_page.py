"""The page docs/solvers.md names every structure."""

import pathlib

import tfnes

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "solvers.md"


def test_every_structure_is_in_the_table():
    text = PAGE.read_text()
    for name, cls in tfnes.registration.registered("structure").items():
        if cls.__module__.startswith("tfnes."):
            assert f"`{name}(" in text
