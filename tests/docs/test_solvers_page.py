"""The page docs/solvers.md names every structure, and what each can do.

`python tests/docs/test_solvers_page.py` prints the table of abilities.
"""

import pathlib

import tfnes

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "solvers.md"

# A column holds what a structure has or lacks as a whole.
COLUMNS = [
    ["argmax", "log_count", "contains", "score", "perturb_and_map", "validate"],
    ["log_partition", "marginals", "entropy", "kl_divergence", "log_prob"],
    ["sample"],
    ["distribution"],
    ["relaxed_argmax"],
    ["enumerate"],
]


def our_structures():
    return {
        name: cls
        for name, cls in tfnes.registration.registered("structure").items()
        if cls.__module__.startswith("tfnes.")
    }


def ability_table():
    """Returns a Markdown table of the registered structures and their methods."""
    titles = [", ".join(f"`{name}`" for name in column) for column in COLUMNS]
    rows = [["structure", *titles], ["---", *[":-:" for _ in COLUMNS]]]
    for name, cls in sorted(our_structures().items()):
        row = [f"`{name}`"]
        for column in COLUMNS:
            have = {callable(getattr(cls, method, None)) for method in column}
            assert len(have) == 1, f"{name} has some of {column} only"
            row.append("yes" if have.pop() else "")
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def test_every_structure_is_in_the_table_of_algorithms():
    text = PAGE.read_text()
    for name in our_structures():
        assert f"`{name}(" in text


def test_table_of_abilities_is_that_of_the_registry():
    table = ability_table()
    assert table in PAGE.read_text(), f"docs/solvers.md should hold:\n\n{table}"


if __name__ == "__main__":
    print(ability_table())
