"""`check_structure`: is a structure, built in or your own, right?

Everything is compared with enumeration, so `num_nodes` has to be small.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnes import random
from tfnes.solvers.batching import use_jit_compile
from tfnes.structures import structure as abilities
from tfnes.structures.structure import Structure
from tfnes.testing.structure_laws import (
    check_relaxation,
    check_samples,
    check_sums,
    close,
    expect,
    sums,
)


def check_structure(
    structure: Structure,
    *,
    num_nodes: int = 4,
    batch_size: int = 6,
    num_samples: int = 2000,
    seed: int = 0,
    jit_compile: bool = True,
) -> None:
    """Checks all that the base class promises, and every ability that is offered.

    Optimality, counting, membership, leading axes, float32 and float64; every length
    from 0, each with NaN in the padding, ties and forbidden parts; large scores, equal
    results in eager mode, in a graph and under XLA, perturb-and-MAP, serialisation,
    `validate` and `predict`; and where offered partition, marginals, their gradients,
    entropy, KL, relaxed argmax, and the frequencies of exact samples (chi-square).

    Args:
      structure: the structure to check; it has to offer `enumerate(num_nodes)`, which
        for fewer nodes lists the structures of padded examples.
      num_nodes: size of the examples; the number of structures should stay below 1000.
      batch_size: examples for each comparison.
      num_samples: samples for the comparison with the marginals.
      seed: of the random scores.
      jit_compile: whether to compare with XLA too (a structure that runs on the host
        cannot be compiled).

    Raises:
      AssertionError: saying what was expected and what came.

    Example:

        >>> import tfnes
        >>> tfnes.testing.check_structure(tfnes.structures.Categorical(), num_nodes=3)
    """
    suite = Suite(structure, num_nodes, batch_size, seed)
    suite.check_enumeration()
    suite.check_argmax()
    suite.check_lengths()
    suite.check_modes(jit_compile)
    suite.check_perturbation()
    suite.check_configuration()
    suite.check_validation()
    if isinstance(structure, abilities.HasMarginals):
        check_sums(suite)
    if isinstance(structure, abilities.HasSampler):
        check_samples(suite, num_samples)
    if isinstance(structure, abilities.HasRelaxedArgmax):
        check_relaxation(suite)


class Suite:
    """A structure, all its latents, and random scores."""

    def __init__(self, structure: Structure, num_nodes: int, batch: int, seed: int):
        expect(
            isinstance(structure, abilities.HasEnumeration),
            f"check_structure compares with enumeration: give {structure!r} a method "
            "enumerate(num_nodes) -> [|Z|, *parts].",
        )
        self.structure = structure
        self.num_nodes = num_nodes
        self.latents = np.asarray(structure.enumerate(num_nodes), np.float64)
        self.parts = self.latents.shape[1:]
        self.axes = tuple(range(1, 1 + len(self.parts)))
        self.batch = batch
        self.rng = np.random.default_rng(seed)

    def scores(self, scale: float = 1.0, dtype: Any = np.float64) -> np.ndarray:
        return (scale * self.rng.normal(size=(self.batch, *self.parts))).astype(dtype)

    def totals(self, scores: np.ndarray, latents: np.ndarray) -> np.ndarray:
        """`[B, |Z|]` score of every structure; -inf where a forbidden part is used."""
        scores = np.asarray(scores, np.float64)[:, None]
        product = np.where(latents > 0, np.where(latents > 0, scores, 0), 0)
        return product.sum(tuple(a + 1 for a in self.axes))

    def check_best(self, scores: np.ndarray, latent: Any, what: str) -> None:
        latent = np.asarray(latent)
        expect(
            np.all(np.asarray(self.structure.contains(tf.constant(latent)))),
            f"argmax left the set ({what}).",
        )
        totals = self.totals(scores, self.latents)
        best = totals.max(1)
        reached = np.where(latent > 0, np.where(latent > 0, scores, 0), 0)
        reached = reached.astype(np.float64).sum(self.axes)
        finite = np.isfinite(best)
        scale = np.abs(np.where(np.isfinite(scores), scores, 0)).max(initial=1e-30)
        error = np.abs(reached[finite] - best[finite]).max(initial=0.0) / scale
        expect(error < 1e-5, f"argmax is not optimal ({what}): off by {error} x scale.")

    def check_enumeration(self) -> None:
        latents = tf.constant(self.latents, tf.float32)
        flat = self.latents.reshape(len(self.latents), -1)
        expect(len(np.unique(flat, axis=0)) == len(flat), "enumerate repeats itself.")
        close(
            self.structure.log_count(latents),
            np.full(len(flat), np.log(len(flat))),
            "log_count differs from enumeration",
        )
        expect(np.all(self.structure.contains(latents)), "contains denies a member.")
        members = {row.tobytes() for row in flat}
        others = self.rng.integers(0, 2, size=(200, *self.parts)).astype(np.float64)
        expected = [row.tobytes() in members for row in others.reshape(200, -1)]
        actual = self.structure.contains(tf.constant(others, tf.float32))
        expect(np.array_equal(actual, expected), "contains differs from enumeration.")
        half = self.structure.contains(latents * 0.5)
        expect(
            not np.any(np.asarray(half) & (flat.sum(1) > 0)),
            "contains accepts values that are not 0 or 1.",
        )

    def check_argmax(self) -> None:
        for dtype in (np.float32, np.float64):
            for scale in (1.0, 1e6):
                scores = self.scores(scale, dtype)
                latent = self.structure.argmax(tf.constant(scores))
                expect(
                    latent.dtype == tf.as_dtype(dtype) and latent.shape == scores.shape,
                    f"argmax changed dtype or shape: {latent.dtype}, {latent.shape}.",
                )
                self.check_best(scores, latent, f"{np.dtype(dtype)}, scale {scale}")
        ties = self.rng.integers(0, 2, (self.batch, *self.parts)).astype(np.float32)
        self.check_best(ties, self.structure.argmax(tf.constant(ties)), "ties")
        forbidden = self.scores(1.0, np.float32)
        forbidden[self.rng.random(forbidden.shape) < 0.3] = -np.inf
        latent = self.structure.argmax(tf.constant(forbidden))
        self.check_best(forbidden, latent, "forbidden parts")
        scores = tf.constant(self.scores(1.0, np.float32))
        one = self.structure.argmax(scores[0])
        many = self.structure.argmax(tf.reshape(scores, [2, -1, *self.parts]))
        expected = np.asarray(self.structure.argmax(scores))
        expect(np.array_equal(one, expected[0]), "no leading axis: another result.")
        expect(
            np.array_equal(np.reshape(many, expected.shape), expected),
            "two leading axes: another result.",
        )

    def check_lengths(self) -> None:
        for length in range(self.num_nodes + 1):
            what = f"lengths = {length} of {self.num_nodes}"
            latents = padded_enumeration(
                self.structure, num_nodes=self.num_nodes, length=length
            )
            lengths = tf.fill([self.batch], length)
            used = latents.any(0)
            ties = self.rng.integers(0, 2, (self.batch, *self.parts))
            forbidden = self.scores(1.0, np.float32)
            forbidden[self.rng.random(forbidden.shape) < 0.3] = -np.inf
            for scores, kind in (
                (self.scores(1.0, np.float32), "random scores"),
                (ties.astype(np.float32), "ties"),
                (forbidden, "forbidden parts"),
            ):
                scores[:, ~used] = np.nan
                self.check_length(scores, latents, lengths, f"{what}, {kind}")
            scores = self.scores(1.0, np.float32)
            scores[:, ~used] = np.nan
            given = tf.constant(scores)
            close(
                self.structure.log_count(given, lengths=lengths),
                np.full(self.batch, np.log(len(latents))),
                f"{what}: log_count",
            )
            if isinstance(self.structure, abilities.HasSampler):
                seed = random.make_seed(length)
                samples = self.structure.sample(
                    given, num_samples=3, seed=seed, lengths=lengths
                )
                inside = [self.structure.contains(z, lengths=lengths) for z in samples]
                expect(np.all(inside), f"{what}: a sample is outside of the set.")

    def check_length(
        self, scores: np.ndarray, latents: np.ndarray, lengths: tf.Tensor, what: str
    ) -> None:
        """Argmax and sums of padded examples against their structures."""
        given = tf.constant(scores)
        latent = np.asarray(self.structure.argmax(given, lengths=lengths))
        inside = self.structure.contains(latent, lengths=lengths)
        expect(np.all(inside), f"{what}: contains denies the argmax.")
        totals = self.totals(scores, latents)
        best = totals.max(1)
        possible = np.isfinite(best)
        reached = np.where(latent > 0, np.where(latent > 0, scores, 0), 0)
        reached = reached.astype(np.float64).sum(self.axes)
        close(reached[possible], best[possible], f"{what}: argmax is not optimal")
        expect(not latent[:, ~latents.any(0)].any(), f"{what}: argmax uses padding.")
        if isinstance(self.structure, abilities.HasMarginals):
            log_z, marginals = sums(totals[possible], latents)
            actual = self.structure.log_partition(given, lengths=lengths)
            close(np.asarray(actual)[possible], log_z, f"{what}: log_partition")
            actual = self.structure.marginals(given, lengths=lengths)
            close(np.asarray(actual)[possible], marginals, f"{what}: marginals")

    def check_modes(self, jit_compile: bool) -> None:
        scores = tf.constant(self.scores(1.0, np.float32))
        lengths = tf.constant(np.arange(self.batch) % (self.num_nodes + 1), tf.int32)
        expected = self.structure.argmax(scores, lengths=lengths)
        for jit in (False, True) if jit_compile else (False,):
            solve = tf.function(self.structure.argmax, jit_compile=jit, autograph=False)
            with use_jit_compile(jit):
                actual = solve(scores, lengths=lengths)
            expect(
                np.array_equal(actual, expected),
                f"argmax differs in a graph with jit_compile={jit}.",
            )
        shape = [None] + [None] * len(self.parts)
        dynamic = tf.function(
            lambda x: self.structure.argmax(x),
            input_signature=[tf.TensorSpec(shape, tf.float32)],
            autograph=False,
        )
        expect(
            np.array_equal(dynamic(scores), self.structure.argmax(scores)),
            "argmax differs in a graph of unknown shape.",
        )

    def check_perturbation(self) -> None:
        scores = tf.constant(self.scores(1.0, np.float32))
        seed = random.make_seed(11)
        one = self.structure.perturb_and_map(scores, seed=seed)
        two = self.structure.perturb_and_map(scores, seed=seed)
        expect(np.array_equal(one, two), "perturb_and_map is not a function of seed.")
        expect(np.all(self.structure.contains(one)), "perturb_and_map left the set.")
        index = tf.range(self.batch)[::-1]
        turned = self.structure.perturb_and_map(scores[::-1], seed=seed, index=index)
        expect(
            np.array_equal(turned[::-1], one), "perturb_and_map is not keyed by index."
        )

    def check_configuration(self) -> None:
        config = keras.saving.serialize_keras_object(self.structure)
        again = keras.saving.deserialize_keras_object(config)
        expect(
            again == self.structure and hash(again) == hash(self.structure),
            f"{self.structure!r} is not equal to its copy by configuration {again!r}.",
        )

    def check_validation(self) -> None:
        scores = self.scores(1.0, np.float32)
        self.structure.validate(tf.constant(scores))
        expect(
            np.array_equal(
                self.structure.predict(scores), self.structure.argmax(scores)
            ),
            "predict differs from argmax.",
        )
        used = self.latents.any(0)
        if not used.any() or len(self.latents) == 1:
            return
        for bad, what in ((np.nan, "NaN"), (-np.inf, "no structure left")):
            broken = scores.copy()
            broken[-1][used] = bad
            for method in (self.structure.validate, self.structure.predict):
                try:
                    method(tf.constant(broken))
                except tf.errors.InvalidArgumentError:
                    continue
                raise AssertionError(f"{method.__name__} did not report {what}.")


def padded_enumeration(
    structure: Structure, *, num_nodes: int, length: int
) -> np.ndarray:
    """Returns all latents of `length` real nodes, padded to `num_nodes`.

    Which parts are real is found by asking the solver for each part in turn.

    Args:
      structure: with `enumerate`.
      num_nodes: size of an example with its padding.
      length: real nodes.

    Returns:
      `[|Z|, *parts]` float64, 0 in padding.

    Raises:
      AssertionError: if the solver uses more or fewer parts than `enumerate(length)`.
    """
    parts = np.asarray(structure.enumerate(num_nodes)).shape[1:]
    small = np.asarray(structure.enumerate(length), np.float64)
    used_small = small.any(0)
    count = int(np.prod(parts))
    push = tf.constant(np.eye(count, dtype=np.float32).reshape(count, *parts))
    found = structure.argmax(push, lengths=tf.fill([count], length))
    used = np.any(np.asarray(found), axis=0)
    expect(
        used.sum() == used_small.sum(),
        f"lengths = {length} of {num_nodes}: other parts are used than by "
        f"enumerate({length}).",
    )
    latents = np.zeros((len(small), *parts))
    latents[:, used] = small[:, used_small]
    return latents
