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

    Optimality, counting, membership, leading axes, float32 and float64, lengths from
    0 with NaN in the padding, forbidden parts, ties, large scores, equal results in
    eager mode, in a graph and under XLA, perturb-and-MAP, serialisation, `validate`;
    and where offered partition, marginals, their gradients, entropy, KL, relaxed
    argmax, sampling.

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
    suite = _Suite(structure, num_nodes, batch_size, seed)
    suite.check_enumeration()
    suite.check_argmax()
    suite.check_lengths()
    suite.check_modes(jit_compile)
    suite.check_perturbation()
    suite.check_configuration()
    suite.check_validation()
    if isinstance(structure, abilities.HasMarginals):
        suite.check_sums()
    if isinstance(structure, abilities.HasSampler):
        suite.check_samples(num_samples)
    if isinstance(structure, abilities.HasRelaxedArgmax):
        suite.check_relaxation()


def _expect(condition: Any, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _close(actual: Any, expected: Any, what: str, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(
        np.asarray(actual), expected, rtol=tolerance, atol=tolerance, err_msg=what
    )


class _Suite:
    """The structure, all its latents, and random scores."""

    def __init__(self, structure: Structure, num_nodes: int, batch: int, seed: int):
        _expect(
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
        _expect(
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
        _expect(
            error < 1e-5, f"argmax is not optimal ({what}): off by {error} x scale."
        )

    def check_enumeration(self) -> None:
        latents = tf.constant(self.latents, tf.float32)
        flat = self.latents.reshape(len(self.latents), -1)
        _expect(len(np.unique(flat, axis=0)) == len(flat), "enumerate repeats itself.")
        _close(
            self.structure.log_count(latents),
            np.full(len(flat), np.log(len(flat))),
            "log_count differs from enumeration",
        )
        _expect(np.all(self.structure.contains(latents)), "contains denies a member.")
        members = {row.tobytes() for row in flat}
        others = self.rng.integers(0, 2, size=(200, *self.parts)).astype(np.float64)
        expected = [row.tobytes() in members for row in others.reshape(200, -1)]
        actual = self.structure.contains(tf.constant(others, tf.float32))
        _expect(np.array_equal(actual, expected), "contains differs from enumeration.")
        half = self.structure.contains(latents * 0.5)
        _expect(
            not np.any(np.asarray(half) & (flat.sum(1) > 0)),
            "contains accepts values that are not 0 or 1.",
        )

    def check_argmax(self) -> None:
        for dtype in (np.float32, np.float64):
            for scale in (1.0, 1e6):
                scores = self.scores(scale, dtype)
                latent = self.structure.argmax(tf.constant(scores))
                _expect(
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
        _expect(np.array_equal(one, expected[0]), "no leading axis: another result.")
        _expect(
            np.array_equal(np.reshape(many, expected.shape), expected),
            "two leading axes: another result.",
        )

    def used_parts(self, length: int) -> np.ndarray:
        """Indicator of the parts that some structure of `length` real nodes has."""
        count = int(np.prod(self.parts))
        push = np.eye(count, dtype=np.float32).reshape(count, *self.parts)
        lengths = tf.fill([count], length)
        best = self.structure.argmax(tf.constant(push), lengths=lengths)
        return np.any(np.asarray(best), axis=0)

    def check_lengths(self) -> None:
        for length in range(self.num_nodes + 1):
            small = np.asarray(self.structure.enumerate(length), np.float64)
            used_small = small.any(0)
            used = self.used_parts(length)
            what = f"lengths = {length} of {self.num_nodes}"
            _expect(
                used.sum() == used_small.sum(),
                f"{what}: other parts are used than by enumerate({length}).",
            )
            latents = np.zeros((len(small), *self.parts))
            latents[:, used] = small[:, used_small]
            scores = self.scores(1.0, np.float32)
            scores[:, ~used] = np.nan
            given = tf.constant(scores)
            lengths = tf.fill([self.batch], length)
            latent = np.asarray(self.structure.argmax(given, lengths=lengths))
            totals = self.totals(scores, latents)
            best = latents[totals.argmax(1)]
            _expect(np.array_equal(latent, best), f"{what}: argmax differs.")
            _close(
                self.structure.log_count(given, lengths=lengths),
                np.full(self.batch, np.log(len(small))),
                f"{what}: log_count",
            )
            inside = self.structure.contains(latent, lengths=lengths)
            _expect(np.all(inside), f"{what}: contains denies the argmax.")
            if isinstance(self.structure, abilities.HasMarginals):
                log_z, marginals = _sums(totals, latents)
                actual = self.structure.log_partition(given, lengths=lengths)
                _close(actual, log_z, f"{what}: log_partition")
                actual = self.structure.marginals(given, lengths=lengths)
                _close(actual, marginals, f"{what}: marginals")
            if isinstance(self.structure, abilities.HasSampler):
                seed = random.make_seed(length)
                samples = self.structure.sample(
                    given, num_samples=3, seed=seed, lengths=lengths
                )
                inside = [self.structure.contains(z, lengths=lengths) for z in samples]
                _expect(np.all(inside), f"{what}: a sample is outside of the set.")

    def check_modes(self, jit_compile: bool) -> None:
        scores = tf.constant(self.scores(1.0, np.float32))
        lengths = tf.constant(np.arange(self.batch) % (self.num_nodes + 1), tf.int32)
        expected = self.structure.argmax(scores, lengths=lengths)
        for jit in (False, True) if jit_compile else (False,):
            solve = tf.function(self.structure.argmax, jit_compile=jit, autograph=False)
            with use_jit_compile(jit):
                actual = solve(scores, lengths=lengths)
            _expect(
                np.array_equal(actual, expected),
                f"argmax differs in a graph with jit_compile={jit}.",
            )
        shape = [None] + [None] * len(self.parts)
        dynamic = tf.function(
            lambda x: self.structure.argmax(x),
            input_signature=[tf.TensorSpec(shape, tf.float32)],
            autograph=False,
        )
        _expect(
            np.array_equal(dynamic(scores), self.structure.argmax(scores)),
            "argmax differs in a graph of unknown shape.",
        )

    def check_perturbation(self) -> None:
        scores = tf.constant(self.scores(1.0, np.float32))
        seed = random.make_seed(11)
        one = self.structure.perturb_and_map(scores, seed=seed)
        two = self.structure.perturb_and_map(scores, seed=seed)
        _expect(np.array_equal(one, two), "perturb_and_map is not a function of seed.")
        _expect(np.all(self.structure.contains(one)), "perturb_and_map left the set.")
        index = tf.range(self.batch)[::-1]
        turned = self.structure.perturb_and_map(scores[::-1], seed=seed, index=index)
        _expect(
            np.array_equal(turned[::-1], one), "perturb_and_map is not keyed by index."
        )

    def check_configuration(self) -> None:
        config = keras.saving.serialize_keras_object(self.structure)
        again = keras.saving.deserialize_keras_object(config)
        _expect(
            again == self.structure and hash(again) == hash(self.structure),
            f"{self.structure!r} is not equal to its copy by configuration {again!r}.",
        )

    def check_validation(self) -> None:
        scores = self.scores(1.0, np.float32)
        self.structure.validate(tf.constant(scores))
        used = self.latents.any(0)
        if not used.any() or len(self.latents) == 1:
            return
        for bad, what in ((np.nan, "NaN"), (-np.inf, "no structure left")):
            broken = scores.copy()
            broken[-1][used] = bad
            try:
                self.structure.validate(tf.constant(broken))
            except tf.errors.InvalidArgumentError:
                continue
            raise AssertionError(f"validate did not report {what}.")

    def check_sums(self) -> None:
        for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-8)):
            scores = self.scores(1.0, dtype)
            direction = self.scores(1.0, dtype)
            given = tf.constant(scores)
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(given)
                log_z = self.structure.log_partition(given)
                marginals = self.structure.marginals(given)
                along = tf.reduce_sum(marginals * direction)
            totals = self.totals(scores, self.latents)
            expected, mean = _sums(totals, self.latents)
            _close(log_z, expected, "log_partition", tolerance)
            _close(marginals, mean, "marginals", tolerance)
            gradient = tape.gradient(log_z, given, unconnected_gradients="zero")
            _close(gradient, mean, "gradient of log_partition", tolerance)
            p = np.exp(totals - expected[:, None])
            moved = self.totals(direction, self.latents)
            moved = moved - (p * moved).sum(1, keepdims=True)
            hessian = np.tensordot(p * moved, self.latents, 1)
            gradient = tape.gradient(along, given, unconnected_gradients="zero")
            _close(gradient, hessian, "gradient of marginals", 10 * tolerance)
            entropy = -(p * np.log(p)).sum(1)
            _close(self.structure.entropy(given), entropy, "entropy", tolerance)
            uniform = np.log(len(self.latents)) - entropy
            kl = self.structure.kl_divergence(given)
            _close(kl, uniform, "KL against the uniform law", tolerance)
            other = self.scores(1.0, dtype)
            log_q = self.totals(other, self.latents)
            log_q = log_q - _sums(log_q, self.latents)[0][:, None]
            kl = self.structure.kl_divergence(given, tf.constant(other))
            _close(kl, -entropy - (p * log_q).sum(1), "KL of two laws", tolerance)
            best = self.structure.argmax(given)
            actual = self.structure.log_prob(best, given)
            _close(actual, totals.max(1) - expected, "log_prob", tolerance)
        large = tf.constant(self.scores(1e6, np.float32))
        best = self.structure.argmax(large)
        actual = np.asarray(self.structure.log_prob(best, large))
        _expect(np.all((actual <= 0) & (actual > -10)), f"log_prob at 1e6: {actual}.")
        marginals = np.asarray(self.structure.marginals(large))
        _close(marginals, best, "marginals at scores of 1e6", 1e-3)

    def check_samples(self, num_samples: int) -> None:
        scores = tf.constant(self.scores(1.0, np.float32))
        seed = random.make_seed(5)
        samples = self.structure.sample(scores, num_samples=num_samples, seed=seed)
        _expect(
            samples.shape == (num_samples, *scores.shape),
            f"samples have the shape {samples.shape}.",
        )
        _expect(np.all(self.structure.contains(samples)), "a sample left the set.")
        again = self.structure.sample(scores, num_samples=num_samples, seed=seed)
        _expect(np.array_equal(samples, again), "sample is not a function of seed.")
        totals = self.totals(scores.numpy(), self.latents)
        log_z, _ = _sums(totals, self.latents)
        p = np.exp(totals - log_z[:, None])
        flat = np.asarray(samples).reshape(num_samples, self.batch, -1)
        rows = self.latents.reshape(len(self.latents), -1)
        same = np.einsum("sbp,zp->bsz", flat, rows) - 0.5 * (
            flat.sum(2).T[:, :, None] + rows.sum(1)
        )
        counts = (same > -0.25).sum(1)
        statistic = ((counts - num_samples * p) ** 2 / (num_samples * p)).sum()
        freedom = self.batch * (len(rows) - 1)
        # Chi-square of the whole batch; its mean is `freedom`, its variance twice that
        # plus 1 / expected count for rare structures.
        spread = np.sqrt(2 * freedom + (1 / (num_samples * p)).sum())
        _expect(
            abs(statistic - freedom) <= 6 * spread + 1e-6,
            f"samples do not follow the law: chi-square {statistic:.1f}, expected "
            f"{freedom} +- {spread:.1f}.",
        )

    def check_relaxation(self) -> None:
        scores = tf.constant(self.scores(1.0, np.float64))
        warm = self.structure.relaxed_argmax(scores, temperature=1.0)
        _expect(np.all(np.asarray(warm) >= -1e-9), "relaxed_argmax below 0.")
        _expect(np.all(np.asarray(warm) <= 1 + 1e-9), "relaxed_argmax above 1.")
        # <m, scores> + temperature H(m) is largest: a low temperature gets near the
        # best.
        cold = self.structure.relaxed_argmax(scores, temperature=0.1)
        best = self.structure.argmax(scores)
        gaps = [
            self.structure.score(best - relaxed, scores).numpy()
            for relaxed in (warm, cold)
        ]
        _expect(
            np.all(np.abs(gaps[1]) < 0.1 * (1 + np.prod(self.parts))),
            f"relaxed_argmax at temperature 0.1 is {gaps[1]} off the best score.",
        )
        _expect(
            np.mean(np.abs(gaps[1])) <= np.mean(np.abs(gaps[0])) + 1e-9,
            "a lower temperature takes relaxed_argmax away from argmax.",
        )


def _sums(totals: np.ndarray, latents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns log Z and marginals from the scores of all structures."""
    top = totals.max(1, keepdims=True)
    weights = np.exp(totals - top)
    log_z = top[:, 0] + np.log(weights.sum(1))
    return log_z, np.tensordot(np.exp(totals - log_z[:, None]), latents, 1)
