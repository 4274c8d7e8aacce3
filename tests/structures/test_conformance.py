"""Every registered structure passes the public conformance suite."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfnes import registration, structures, testing
from tfnes.testing.structures import padded_enumeration

pytestmark = pytest.mark.usefixtures("without_xla")


class EnumeratedBlackBox(structures.BlackBox):
    """A black box over pairs of parts, with the enumeration that the suite needs."""

    def __init__(self):
        super().__init__(best_pair, contains=is_pair, log_count=log_pairs)

    def enumerate(self, num_nodes):
        rows = list(itertools.combinations(range(num_nodes), min(2, num_nodes)))
        return np.array(
            [np.isin(np.arange(num_nodes), row) for row in rows], np.float32
        )

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _size(shape, length):
    return shape[0] if length < 0 else min(length, shape[0])


def best_pair(scores, length):
    size = _size(scores.shape, length)
    latent = np.zeros_like(scores)
    order = np.argsort(-np.nan_to_num(scores[:size], nan=-np.inf), kind="stable")
    latent[order[:2]] = 1
    return latent


def is_pair(latent, length):
    size = _size(latent.shape, length)
    binary = np.isin(latent, [0, 1]).all()
    return bool(binary and latent[:size].sum() == latent.sum() == min(2, size))


def log_pairs(shape, length):
    size = _size(shape, length)
    return np.log(max(1, size * (size - 1) // 2))


CASES = [
    (structures.Categorical(), 4),
    (structures.Categorical(), 1),
    (structures.Subset(k=2), 5),
    (structures.Subset(k=0), 2),
    (structures.SpanningTree(), 4),
    (structures.SpanningTree(), 1),
    (structures.LinearChain(num_states=3), 3),
    (structures.Matching(), 4),
    (structures.DependencyTree(projective=True, single_root=True), 3),
    (structures.DependencyTree(projective=True, single_root=False), 3),
    (structures.DependencyTree(projective=False, single_root=True), 3),
    (structures.DependencyTree(projective=False, single_root=False), 3),
]


@pytest.mark.parametrize(
    ("structure", "num_nodes"), CASES, ids=lambda value: repr(value)
)
def test_structure_keeps_all_promises(structure, num_nodes):
    testing.check_structure(structure, num_nodes=num_nodes)


@pytest.mark.parametrize(
    ("structure", "num_nodes"),
    [case for case in CASES if case[1] > 2],
    ids=lambda value: repr(value),
)
def test_any_scores_get_the_best_structure(structure, num_nodes):
    latents = [
        padded_enumeration(structure, num_nodes=num_nodes, length=length)
        for length in range(num_nodes + 1)
    ]
    shape = (6, *latents[-1].shape[1:])
    # TensorFlow reads subnormal numbers as 0: they tie with it.
    numbers = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
    values = st.one_of(st.integers(-2, 2).map(float), numbers, st.just(-np.inf))

    @settings(max_examples=6, deadline=None)
    @given(
        hnp.arrays(np.float32, shape, elements=values),
        hnp.arrays(np.int32, 6, elements=st.integers(0, num_nodes)),
    )
    def check(scores, lengths):
        for row, length in zip(scores, lengths, strict=True):
            row[~latents[length].any(0)] = np.nan
        found = structure.argmax(tf.constant(scores), lengths=tf.constant(lengths))
        inside = structure.contains(found, lengths=tf.constant(lengths))
        assert np.all(inside)
        for row, length, latent in zip(scores, lengths, found.numpy(), strict=True):
            totals = [row[z > 0].astype(np.float64).sum() for z in latents[length]]
            reached = row[latent > 0].astype(np.float64).sum()
            # float32: sums may cancel, errors are relative to the largest score.
            largest = float(np.abs(row[np.isfinite(row)]).max(initial=0))
            assert reached == pytest.approx(max(totals), rel=1e-6, abs=1e-6 * largest)

    check()


def test_black_box_keeps_all_promises_that_a_host_function_can():
    import keras

    keras.saving.register_keras_serializable(package="test")(EnumeratedBlackBox)
    testing.check_structure(EnumeratedBlackBox(), num_nodes=4, jit_compile=False)


def test_every_structure_of_the_library_is_covered():
    covered = {type(structure).__name__ for structure, _ in CASES} | {"BlackBox"}
    ours = {
        name
        for name, cls in registration.registered("structure").items()
        if cls.__module__.startswith("tfnes.")
    }
    assert ours == covered
