"""UAS, LAS and the branching baselines, by hand and against the official scorer."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfnes.datasets import DemoTreebank, write_conllu
from tfnes.metrics import (
    LAS,
    UAS,
    BranchingBaseline,
    left_branching_heads,
    right_branching_heads,
)
from tfnes.models.parser_inputs import universal_relations

RELATIONS = ["<unk>", "root", "nsubj", "nsubj:pass", "obj"]


def _case():
    """Two sentences of 3 and 1 words, and one row of padding."""
    batch = {
        "lengths": tf.constant([3, 1, 0]),
        "heads": tf.constant([[2, 0, 2], [0, 9, 9], [9, 9, 9]]),
        "relations": tf.constant([[2, 1, 4], [1, 0, 0], [0, 0, 0]]),
        "punctuation": tf.constant(
            [[False, False, True], [False, True, True], [True, True, True]]
        ),
    }
    outputs = {
        "heads": tf.constant([[2, 0, 1], [0, 9, 9], [9, 9, 9]]),
        "relations": tf.constant([[3, 1, 4], [4, 0, 0], [0, 0, 0]]),
    }
    universal = universal_relations(RELATIONS)
    outputs["universal_relations"] = tf.gather(universal, outputs["relations"])
    outputs["gold_universal_relations"] = tf.gather(universal, batch["relations"])
    return batch, outputs


@pytest.mark.parametrize(
    "metric, expected",
    [
        (UAS(), 3 / 4),
        (UAS(punctuation=False), 3 / 3),
        (LAS(), 2 / 4),
        (LAS(subtypes=True), 1 / 4),
        (LAS(punctuation=False), 2 / 3),
        (BranchingBaseline(direction="right"), 2 / 4),
        (BranchingBaseline(direction="left"), 2 / 4),
    ],
)
def test_by_hand(metric, expected):
    batch, outputs = _case()
    metric.update_state(batch, outputs)
    assert float(metric.result()) == expected
    twin = type(metric).from_config(metric.get_config())
    tf.function(twin.update_state)(batch, outputs)
    assert float(twin.result()) == expected
    metric.reset_state()
    assert float(metric.result()) == 0.0


def test_branching_heads():
    lengths = tf.constant([4, 1, 0])
    np.testing.assert_array_equal(
        right_branching_heads(lengths, 5),
        [[0, 1, 2, 3, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
    )
    np.testing.assert_array_equal(
        left_branching_heads(lengths, 5),
        [[2, 3, 4, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
    )


def test_unknown_direction_is_refused():
    with pytest.raises(ValueError, match=r"one of \('right', 'left'\)"):
        BranchingBaseline(direction="up")


def test_metrics_serialise():
    for metric in (UAS(punctuation=False), LAS(subtypes=True), BranchingBaseline()):
        config = keras.saving.serialize_keras_object(metric)
        twin = keras.saving.deserialize_keras_object(config)
        assert twin.get_config() == metric.get_config()


def _random_prediction(sentence, relations, rng):
    """A right-branching tree with random labels: a valid tree, mostly wrong."""
    heads = list(range(len(sentence)))
    if rng.random() < 0.5:
        heads = list(sentence.heads)
    labels = [
        gold if rng.random() < 0.6 else relations[rng.integers(1, len(relations))]
        for gold in sentence.relations
    ]
    return heads, labels


def test_equal_to_the_official_scorer(tmp_path):
    """Official figures have four decimals of a fraction."""
    program = Path(sys.executable).parent / "udeval"
    program = program if program.exists() else shutil.which("udeval")
    if program is None:
        pytest.skip("udeval (package udtools) is not installed")
    data = DemoTreebank(source_train=40, target_train=4)
    sentences = data.sentences("source_train")
    relations = data.vocabulary.relations
    # A relation with a subtype, which the official LAS does not look at.
    renamed = {r: r + ":sub" for r in relations[2:5]}
    rng = np.random.default_rng(0)
    predicted = []
    for sentence in sentences:
        heads, labels = _random_prediction(sentence, relations, rng)
        labels = [renamed.get(r, r) if rng.random() < 0.5 else r for r in labels]
        predicted.append((heads, labels))
    gold_path, system_path = tmp_path / "gold.conllu", tmp_path / "system.conllu"
    golds = [(s.heads, s.relations) for s in sentences]
    for path, trees in ((gold_path, golds), (system_path, predicted)):
        heads, labels = zip(*trees, strict=True)
        write_conllu(path, sentences, heads=heads, relations=labels)
    report = subprocess.run(
        [str(program), "-v", str(gold_path), str(system_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    official = {
        name: float(
            re.search(rf"^{name}\s*\|[^|]*\|[^|]*\|\s*([\d.]+)", report, re.M)[1]
        )
        for name in ("UAS", "LAS")
    }
    names = [*relations, *renamed.values()]
    number = {name: i for i, name in enumerate(names)}
    universal = universal_relations(names)
    uas, las = UAS(), LAS()
    for sentence, (heads, labels) in zip(sentences, predicted, strict=True):
        gold = [number[r] for r in sentence.relations]
        system = [number[r] for r in labels]
        batch = {
            "heads": tf.constant([sentence.heads]),
            "lengths": tf.constant([len(sentence)]),
        }
        outputs = {
            "heads": tf.constant([heads]),
            "universal_relations": tf.constant([universal[system]]),
            "gold_universal_relations": tf.constant([universal[gold]]),
        }
        uas.update_state(batch, outputs)
        las.update_state(batch, outputs)
    assert 5 < official["LAS"] < official["UAS"] < 95
    assert f"{100 * float(uas.result()):.2f}" == f"{official['UAS']:.2f}"
    assert f"{100 * float(las.result()):.2f}" == f"{official['LAS']:.2f}"
