"""Pictures: they can be made for any tree, show what is wrong, and stay readable."""

import itertools
import warnings

import numpy as np
import pytest
from matplotlib.patches import PathPatch

from tfnes import plotting
from tfnes.errors import ConfigurationError
from tfnes.plotting import figures


def arcs(figure):
    return [p for p in figure.axes[0].patches if isinstance(p, PathPatch)]


def has_color(patch, color):
    from matplotlib.colors import to_rgba

    return patch.get_edgecolor() == to_rgba(color)


def test_one_arc_for_each_word_and_wrong_ones_are_marked():
    figure = plotting.draw_dependency_tree(
        ["a", "b", "c", "d"], [2, 0, 2, 3], gold_heads=[2, 0, 4, 2]
    )
    predicted, gold = arcs(figure)[:4], arcs(figure)[4:]
    assert len(predicted) == len(gold) == 4
    wrong = [has_color(patch, figures.WRONG) for patch in predicted]
    assert wrong == [False, False, True, True]
    dashed = [patch.get_linestyle() not in ("solid", "-") for patch in gold]
    assert dashed == [False, False, True, True]


@pytest.mark.parametrize("n", [1, 2, 22, 23, 120])
def test_any_length_stays_readable(n):
    heads = [*range(2, n + 1), 0]
    figure = plotting.draw_dependency_tree(
        [f"word{i}" for i in range(n)],
        heads,
        relations=["dep"] * n,
        gold_heads=[0, *range(1, n)],
        gold_relations=["dep"] * n,
    )
    width, height = figure.get_size_inches()
    assert width < 30
    assert height < 60
    pixels = plotting.to_pixels(figure, dpi=40)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (round(height * 40 - 0.5), round(width * 40 - 0.5), 3) or (
        abs(pixels.shape[0] - height * 40) <= 1
    )
    assert pixels.min() < 100 < pixels.max()


def test_words_do_not_overlap():
    figure = plotting.draw_dependency_tree(
        ["Supercalifragilistic", "МЩЮЖ", "漢字漢字", "i"], [0, 1, 1, 1]
    )
    plotting.to_pixels(figure)
    texts = figure.axes[0].texts[:4]
    boxes = [text.get_window_extent() for text in texts]
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_arcs_that_cover_others_are_higher():
    from tfnes.plotting.dependency_tree import _levels

    assert _levels([2, 3, 4, 0]) == [1, 1, 1, 1]
    assert _levels([4, 1, 2, 0]) == [2, 1, 1, 1]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_saves_any_script_without_a_warning(tmp_path, suffix):
    figure = plotting.draw_dependency_tree(
        ["кот", "猫", "แมว", "$x$", "𒀀"], [0, 1, 1, 1, 1], title="$5 & <b>"
    )
    path = tmp_path / f"tree.{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plotting.save_figure(figure, path)
    assert path.stat().st_size > 1000
    if suffix == "svg":
        assert "кот" in path.read_text(encoding="utf-8")


def test_refuses_sequences_of_another_length():
    with pytest.raises(ConfigurationError, match=r"heads must have one entry.*2"):
        plotting.draw_dependency_tree(["a", "b", "c"], [0, 1])


def test_text_tree_of_a_long_chain():
    n = 3000
    text = plotting.format_dependency_tree(["w"] * n, list(range(n)))
    assert len(text.splitlines()) == n


def test_text_tree_shows_every_word_once_and_what_is_wrong():
    forms = ["the", "old", "cat", "sleeps", "here"]
    text = plotting.format_dependency_tree(
        forms, [3, 3, 4, 0, 3], gold_heads=[3, 3, 4, 0, 4]
    )
    assert text.splitlines() == [
        "sleeps",
        "└─ cat",
        "   ├─ the",
        "   ├─ old",
        "   └─ here   ✗ gold head: sleeps",
    ]


def test_graph_shows_wrong_and_missed_edges():
    figure = plotting.draw_undirected_tree([1, 1, 0], gold_edges=[1, 0, 1])
    predicted, gold = figure.axes
    assert [line.get_color() for line in predicted.lines] == [
        figures.CORRECT,
        figures.WRONG,
    ]
    assert [line.get_linestyle() for line in gold.lines] == ["-", "--"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"edges": [1, 0]},
        {"edges": [1, 0, 0], "gold_edges": [1]},
        {"edges": [1, 0, 0], "positions": np.zeros((2, 2))},
    ],
)
def test_graph_refuses_wrong_sizes(arguments):
    edges = arguments.pop("edges")
    with pytest.raises(ConfigurationError, match="must"):
        plotting.draw_undirected_tree(edges, **arguments)
