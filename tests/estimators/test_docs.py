"""The page docs/estimators.md: its table is true."""

import pathlib

from tfnes import structures
from tfnes.registration import registered

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "estimators.md").read_text("utf-8")

NEEDS = {
    'the same, `density="structure"`': structures.HasSampler,
    "StochasticSoftmax": structures.HasMarginals,
    "PerturbAndParse": structures.HasRelaxedArgmax,
    "Exact": structures.HasEnumeration,
}


def rows():
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    start = next(i for i, row in enumerate(table) if row[0] == "structure")
    end = next(i for i, row in enumerate(table) if row[0].startswith("needs of the"))
    return table[start], table[start + 1 : end]


def test_the_table_tells_what_the_structures_can():
    head, body = rows()
    # Structures that tests register are not the library's.
    known = {
        name
        for name, cls in registered("structure").items()
        if cls.__module__.startswith("tfnes.structures")
    }
    assert {row[0] for row in body} == known
    for row in body:
        cls = getattr(structures, row[0])
        for column, ability in NEEDS.items():
            cell = row[head.index(column)]
            assert (cell != "–") == issubclass(cls, ability), (row[0], column)
