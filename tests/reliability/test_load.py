"""Many updates, many members, one example, long structures.

One trace for all lengths: `tests/models/test_parser.py`.
"""

import pathlib
import resource

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnes
from tfnes.datasets import DemoTreebank, TreebankAdaptation
from tfnes.estimators import NES, Supervised
from tfnes.structures import (
    DependencyTree,
    LinearChain,
    Matching,
    SpanningTree,
    Subset,
)

pytestmark = pytest.mark.reliability

SIZE = 5
MEGABYTE = 2**20


def resident_bytes():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def small_model(**nes):
    keras.utils.set_random_seed(0)
    model = tfnes.models.MLP(hidden_units=4, num_categories=3, input_size=SIZE)
    model.compile(keras.optimizers.Adam(0.01), NES(**nes))
    return model


def images(batch_size=4):
    image = np.random.default_rng(0).integers(0, 2, [batch_size, SIZE])
    batch = {"image": image.astype(np.float32)}
    return tf.data.Dataset.from_tensors(batch)


@pytest.mark.thorough
def test_memory_of_10000_updates(without_xla):
    model = small_model(population_size=4)
    model.fit(images().repeat(1000), verbose=0)
    before = resident_bytes()
    model.fit(images().repeat(10_000), verbose=0)
    growth = resident_bytes() - before
    print(f"10,000 updates: {growth / MEGABYTE:.1f} MB more")
    assert model.step == 11_000
    assert growth < 8 * MEGABYTE


@pytest.mark.thorough
def test_memory_of_10000_members(without_xla):
    small_model(population_size=100).fit(images(), verbose=0)
    before = resident_bytes()
    model = small_model(population_size=10_000)
    history = model.fit(images(), verbose=0).history
    growth = resident_bytes() - before
    print(f"N = 10,000: {growth / MEGABYTE:.1f} MB more")
    assert history["dropped_pairs"] == [0] and history["skipped_updates"] == [0]
    assert growth < 32 * MEGABYTE


@pytest.mark.thorough
def test_memory_of_200000_sentences(tmp_path, without_xla):
    demo = DemoTreebank(source_train=2000, target_train=10, target_test=10)
    demo.write_conllu(tmp_path)
    path = next(tmp_path.glob("UD_Demo-Source/*train.conllu"))
    text = path.read_text("utf-8").replace("sent_id = ", "sent_id = COPY-")
    with path.open("w", encoding="utf-8") as file:
        for copy in range(100):
            file.write(text.replace("COPY", str(copy)))
    before = resident_bytes()
    data = TreebankAdaptation(
        source="UD_Demo-Source", target="UD_Demo-Target", data_dir=tmp_path
    )
    batches = data.get_dataset("source_train", batch_size=500, shuffle=True)
    held = resident_bytes() - before
    sizes = {"embedding_size": 4, "hidden_size": 4, "num_layers": 1}
    model = tfnes.models.Parser(
        DependencyTree(), **sizes, scorer_size=4, decoder_size=4
    )
    model.adapt(data)
    model.compile(keras.optimizers.Adam(0.01), Supervised())
    model.fit(batches, verbose=0)
    before = resident_bytes()
    model.fit(batches, verbose=0)
    growth = resident_bytes() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"200,000 sentences: {held / MEGABYTE:.0f} MB, second epoch"
        f" {growth / MEGABYTE:.1f} MB more, peak of all {peak / MEGABYTE:.0f} MB"
    )
    assert model.step == 800 and len(batches) == 400
    assert held < 512 * MEGABYTE and growth < 32 * MEGABYTE


def test_one_example_and_one_pair(without_xla):
    model = small_model(population_size=2)
    model.build({"image": tf.zeros([1, SIZE])})
    start = [variable.numpy() for variable in model.trainable_variables]
    history = model.fit(images(1).repeat(5), verbose=0).history
    assert history["skipped_updates"] == [0]
    moved = zip(model.trainable_variables, start, strict=True)
    assert any(np.any(a != b) for a, b in moved)


N = 500
LONG = {
    "projective": (DependencyTree(projective=True), [N + 1, N + 1]),
    "non-projective": (DependencyTree(projective=False), [N + 1, N + 1]),
    "SpanningTree": (SpanningTree(), [N * (N - 1) // 2]),
    "LinearChain": (LinearChain(3), [N, 3, 3]),
    "Matching": (Matching(), [N, N]),
    "Subset": (Subset(k=50), [N]),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", LONG)
def test_500_nodes(name, without_xla):
    structure, shape = LONG[name]
    scores = tf.random.stateless_normal([2, *shape], [0, 1])
    latent = structure.argmax(scores)
    assert structure.contains(latent).numpy().all()
    best = structure.score(latent, scores)
    assert np.isfinite(best).all()
    # No other structure that is at hand is better.
    other = structure.argmax(tf.random.stateless_normal([2, *shape], [0, 2]))
    assert (structure.score(other, scores) <= best).numpy().all()
    if hasattr(structure, "log_partition"):
        total = structure.log_partition(scores)
        assert np.isfinite(total).all() and (total >= best).numpy().all()
        assert (total <= best + structure.log_count(scores) + 1e-2).numpy().all()
        marginals = structure.marginals(scores)
        assert np.isfinite(marginals).all()
        np.testing.assert_allclose(
            tf.reduce_sum(tf.reshape(marginals, [2, -1]), 1),
            tf.reduce_sum(tf.reshape(latent, [2, -1]), 1),
            rtol=1e-3,
        )
