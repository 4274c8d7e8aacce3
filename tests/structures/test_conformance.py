"""Every registered structure passes the public conformance suite."""

import itertools

import numpy as np
import pytest

from tfnes import registration, structures, testing

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
