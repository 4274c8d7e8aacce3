"""The graph-layout data: the simulation against networkx, the provider, the files."""

import os
import pathlib

import networkx as nx
import numpy as np
import pytest
from scipy import stats

from tfnes.datasets import spring_layout
from tfnes.datasets.graph_layout import GraphLayout
from tfnes.errors import ConfigurationError, DataError, MissingDataError

SAMPLE = pathlib.Path(
    os.environ.get(
        "TFNES_SHARED_DATA", pathlib.Path(__file__).parents[3] / "shared" / "data"
    ),
    "graph_layout/graph_layout_10t_10n.npz",
)
needs_sample = pytest.mark.skipif(
    not SAMPLE.exists(), reason="the frozen sample is not there"
)


def small(**kwargs):
    sizes = {"num_train": 30, "num_validation": 7, "num_test": 5}
    return GraphLayout(**{"num_vertices": 5, "num_timesteps": 4, **sizes, **kwargs})


def networkx_step(frame, adjacency):
    places = nx.spring_layout(
        nx.from_numpy_array(adjacency),
        pos=dict(enumerate(frame)),
        iterations=1,
        threshold=1e-10,
    )
    return np.array([places[i] for i in range(len(frame))])


@pytest.mark.parametrize("num_vertices", [2, 3, 10, 40])
def test_every_step_is_that_of_networkx(num_vertices):
    rng = np.random.default_rng(num_vertices)
    frames = rng.normal(size=[6, num_vertices, 2])
    frames[0, 1] = frames[0, 0] + 1e-3  # nearer than the smallest distance
    frames[1, 1] = frames[1, 0]  # on top of each other
    _, edges = spring_layout.simulate_layouts(
        num_vertices, num_timesteps=1, start=0, stop=6
    )
    adjacency = spring_layout.edges_to_adjacency(edges, num_vertices=num_vertices)
    adjacency = adjacency.astype(np.float64)
    for _ in range(4):
        expected = np.stack(
            [networkx_step(f, a) for f, a in zip(frames, adjacency, strict=True)]
        )
        frames = spring_layout.spring_layout_step(frames, adjacency)
        np.testing.assert_allclose(frames, expected, atol=1e-10)
        frames = expected


@pytest.mark.parametrize("num_vertices", [2, 3, 9])
def test_trees_are_maximum_spanning_trees(num_vertices):
    rows, columns = np.triu_indices(num_vertices, k=1)
    weights = np.random.default_rng(0).normal(size=[50, len(rows)])
    trees = spring_layout.maximum_spanning_trees(weights, num_vertices=num_vertices)
    for weight, tree in zip(weights, trees, strict=True):
        graph = nx.Graph()
        graph.add_weighted_edges_from(zip(rows, columns, weight, strict=True))
        expected = nx.maximum_spanning_tree(graph).edges
        found = {(rows[e], columns[e]) for e in np.flatnonzero(tree)}
        assert found == {tuple(sorted(edge)) for edge in expected}


def test_an_example_depends_on_seed_stream_and_index_alone():
    def simulate(start, stop, num_timesteps=3, **kwargs):
        return spring_layout.simulate_layouts(
            6, num_timesteps=num_timesteps, start=start, stop=stop, **kwargs
        )

    positions, edges = simulate(0, 9)
    later_positions, later_edges = simulate(4, 9, num_timesteps=5)
    np.testing.assert_array_equal(edges[4:], later_edges)
    np.testing.assert_array_equal(positions[4:], later_positions[:, :3])
    for other in ({"seed": 1}, {"stream": 1}):
        assert not np.array_equal(positions, simulate(0, 9, **other)[0])


def test_the_first_frame_has_moved_once_from_a_normal_start():
    positions, edges = spring_layout.simulate_layouts(
        5, num_timesteps=1, start=0, stop=3
    )
    uniform = spring_layout._uniform(0, 3, width=20, seed=0, stream=0)
    start = spring_layout._normal(uniform[:, 10:]).reshape(3, 5, 2)
    adjacency = spring_layout.edges_to_adjacency(edges, num_vertices=5)
    for b in range(3):
        expected = networkx_step(start[b], adjacency[b].astype(float))
        np.testing.assert_allclose(positions[b, 0], expected, atol=1e-6)


def test_random_numbers_follow_their_laws():
    uniform = spring_layout._uniform(0, 4000, width=22, seed=3, stream=2)
    assert stats.kstest(uniform.ravel(), "uniform").pvalue > 1e-3
    assert stats.kstest(spring_layout._normal(uniform).ravel(), "norm").pvalue > 1e-3
    correlation = np.corrcoef(uniform.T) - np.eye(22)
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)


@needs_sample
def test_the_frozen_sample_follows_the_same_steps():
    with np.load(SAMPLE) as content:
        positions = content["positions_test"].astype(np.float64)
        adjacency = content["edges_test"].astype(np.float64)
    for time in range(9):
        moved = spring_layout.spring_layout_step(positions[:, time], adjacency)
        np.testing.assert_allclose(moved, positions[:, time + 1], atol=2e-5)


@needs_sample
def test_the_law_is_that_of_the_frozen_sample():
    ours = GraphLayout(num_train=2000).arrays("train")
    sample = GraphLayout(path=SAMPLE).arrays("train")

    def statistics(arrays):
        positions = arrays.positions.astype(np.float64)
        adjacency = spring_layout.edges_to_adjacency(arrays.edges, num_vertices=10)
        gaps = positions[:, :, :, None] - positions[:, :, None]
        distance = np.sqrt(np.square(gaps).sum(axis=-1)).sum(axis=(2, 3))
        return {
            "first distance": distance[:, 0],
            "last distance": distance[:, -1],
            "movement": np.abs(np.diff(positions, axis=1)).sum(axis=(1, 2, 3)),
            "spread": np.square(positions[:, 0]).sum(axis=(1, 2)),
            "hubs": (adjacency.sum(axis=1, dtype=int) ** 2).sum(axis=1),
            "largest degree": adjacency.sum(axis=1, dtype=int).max(axis=1),
        }

    first, second = statistics(ours), statistics(sample)
    for name in first:
        assert stats.ks_2samp(first[name], second[name]).pvalue > 1e-3, name
    # Every edge is in the tree with probability (n - 1) / E.
    counts = ours.edges.sum(axis=0, dtype=int)
    assert abs(counts - 400).max() < 5 * np.sqrt(2000 * 0.2 * 0.8)


def test_batches_shapes_scale_and_order():
    data = small()
    batches = list(data.get_dataset("train", batch_size=10, shuffle=True, epoch=2))
    assert [tuple(b["positions"].shape) for b in batches] == [(10, 4, 5, 2)] * 3
    index = np.concatenate([b["index"].numpy() for b in batches])
    assert sorted(index) == list(range(30)) and list(index) != list(range(30))
    positions = np.concatenate([b["positions"].numpy() for b in batches])
    assert positions.min() == -1 and positions.max() == pytest.approx(1)
    arrays = data.arrays("train")
    low, high = arrays.positions.min(), arrays.positions.max()
    expected = 2 * (arrays.positions[index] - low) / (high - low) - 1
    np.testing.assert_allclose(positions, expected, atol=1e-6)
    edges = np.concatenate([b["edges"].numpy() for b in batches])
    np.testing.assert_array_equal(edges, arrays.edges[index])
    rest = data.get_dataset("train", batch_size=10, shuffle=True, epoch=2, skip=2)
    np.testing.assert_array_equal(next(iter(rest))["index"], index[20:])
    other = data.get_dataset("train", batch_size=30, shuffle=True, epoch=3)
    assert list(next(iter(other))["index"].numpy()) != list(index)


def test_other_splits_use_the_training_scale_and_differ():
    data = small()
    valid = next(iter(data.get_dataset("validation", batch_size=7)))
    expected = data.scale(data.arrays("validation").positions)
    np.testing.assert_array_equal(valid["positions"], expected)
    assert not np.array_equal(
        data.arrays("test").positions, data.arrays("train").positions[:5]
    )


def test_a_split_may_be_empty():
    data = small(num_test=0)
    assert list(data.get_dataset("test", batch_size=2)) == []


def test_static_shapes_when_all_batches_are_full():
    full = small().get_dataset("train", batch_size=8, drop_remainder=True)
    assert full.element_spec["positions"].shape == (8, 4, 5, 2)
    ragged = small().get_dataset("train", batch_size=8)
    assert ragged.element_spec["edges"].shape.as_list() == [None, 10]
    assert [len(b["index"]) for b in ragged] == [8, 8, 8, 6]


def test_the_cache_is_written_read_and_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr("tfnes.datasets.graph_layout._SHARD", 8)
    expected = small().arrays("train")
    small(cache_dir=tmp_path).arrays("train")
    files = sorted(tmp_path.rglob("train-*.npz"))
    assert len(files) == 4 and not list(tmp_path.rglob("*.tmp"))
    files[1].unlink()
    made = []
    original = spring_layout.simulate_layouts
    monkeypatch.setattr(
        "tfnes.datasets.graph_layout.simulate_layouts",
        lambda *a, **k: made.append(k["start"]) or original(*a, **k),
    )
    again = small(cache_dir=tmp_path).arrays("train")
    assert made == [8]
    for array, other in zip(expected, again, strict=True):
        np.testing.assert_array_equal(array, other)


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def broken(file, **arrays):
        pathlib.Path(file).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("numpy.savez", broken)
    with pytest.raises(OSError, match="disk full"):
        small(cache_dir=tmp_path).arrays("train")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("square", [True, False])
def test_reads_a_file_in_the_form_of_the_sample(tmp_path, square):
    data = small()
    content = {}
    for split, name in (("train", "train"), ("validation", "valid"), ("test", "test")):
        arrays = data.arrays(split)
        content[f"positions_{name}"] = arrays.positions
        content[f"edges_{name}"] = (
            spring_layout.edges_to_adjacency(arrays.edges, num_vertices=5)
            if square
            else arrays.edges
        )
    np.savez(tmp_path / "file.npz", **content)
    again = GraphLayout(path=tmp_path / "file.npz")
    assert (again.num_vertices, again.num_timesteps) == (5, 4)
    assert again.num_examples("validation") == 7
    for split in data.splits:
        for array, other in zip(data.arrays(split), again.arrays(split), strict=True):
            np.testing.assert_array_equal(array, other)
    assert "read from" in again.describe()
    assert GraphLayout(**again.get_config()).num_examples("test") == 5


def test_errors_say_what_to_do(tmp_path):
    with pytest.raises(ConfigurationError, match=r"num_vertices must be .* at least 2"):
        small(num_vertices=1)
    with pytest.raises(ConfigurationError, match=r"num_train must be .* at least 1"):
        small(num_train=0)
    with pytest.raises(ConfigurationError, match="no split 'dev'"):
        small().get_dataset("dev", batch_size=2)
    with pytest.raises(MissingDataError, match="there is no file"):
        GraphLayout(path=tmp_path / "none.npz")
    np.savez(tmp_path / "bad.npz", positions_train=np.zeros([2, 3, 4, 2]))
    with pytest.raises(DataError, match="edges_train"):
        GraphLayout(path=tmp_path / "bad.npz")
    np.savez(
        tmp_path / "odd.npz",
        positions_train=np.zeros([2, 3, 4, 2]),
        edges_train=np.zeros([2, 5]),
    )
    with pytest.raises(DataError, match=r"\[N, T, n, 2\]"):
        GraphLayout(path=tmp_path / "odd.npz")


def test_the_tfds_builder_gives_the_same_examples(tmp_path):
    builders = pytest.importorskip("tfnes.datasets.graph_layout_builder")
    config = builders.GraphLayoutConfig(
        name="tiny",
        num_vertices=5,
        num_timesteps=4,
        num_train=30,
        num_validation=7,
        num_test=5,
    )
    builder = builders.GraphLayoutBuilder(config=config, data_dir=tmp_path)
    builder.download_and_prepare()
    data = small()
    for split in data.splits:
        rows = list(builder.as_dataset(split=split).as_numpy_iterator())
        batch = next(iter(data.get_dataset(split, batch_size=len(rows))))
        assert builder.info.splits[split].num_examples == data.num_examples(split)
        for name in ("positions", "edges", "index"):
            np.testing.assert_array_equal([row[name] for row in rows], batch[name])
