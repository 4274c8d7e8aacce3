"""What `check_structure` asks of the law exp(score) / Z of a structure, and helpers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfnes import random

if TYPE_CHECKING:
    from tfnes.testing.structures import Suite


def expect(condition: Any, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def close(actual: Any, expected: Any, what: str, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(
        np.asarray(actual), expected, rtol=tolerance, atol=tolerance, err_msg=what
    )


def sums(totals: np.ndarray, latents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns log Z and marginals from the scores of all structures."""
    top = totals.max(1, keepdims=True)
    weights = np.exp(totals - top)
    log_z = top[:, 0] + np.log(weights.sum(1))
    return log_z, np.tensordot(np.exp(totals - log_z[:, None]), latents, 1)


def check_sums(suite: Suite) -> None:
    """Partition, marginals, gradients, entropy, KL, log-probability."""
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-8)):
        scores = suite.scores(1.0, dtype)
        direction = suite.scores(1.0, dtype)
        given = tf.constant(scores)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(given)
            log_z = suite.structure.log_partition(given)
            marginals = suite.structure.marginals(given)
            along = tf.reduce_sum(marginals * direction)
        totals = suite.totals(scores, suite.latents)
        expected, mean = sums(totals, suite.latents)
        close(log_z, expected, "log_partition", tolerance)
        close(marginals, mean, "marginals", tolerance)
        gradient = tape.gradient(log_z, given, unconnected_gradients="zero")
        close(gradient, mean, "gradient of log_partition", tolerance)
        p = np.exp(totals - expected[:, None])
        moved = suite.totals(direction, suite.latents)
        moved = moved - (p * moved).sum(1, keepdims=True)
        hessian = np.tensordot(p * moved, suite.latents, 1)
        gradient = tape.gradient(along, given, unconnected_gradients="zero")
        close(gradient, hessian, "gradient of marginals", 10 * tolerance)
        entropy = -(p * np.log(p)).sum(1)
        close(suite.structure.entropy(given), entropy, "entropy", tolerance)
        uniform = np.log(len(suite.latents)) - entropy
        kl = suite.structure.kl_divergence(given)
        close(kl, uniform, "KL against the uniform law", tolerance)
        other = suite.scores(1.0, dtype)
        log_q = suite.totals(other, suite.latents)
        log_q = log_q - sums(log_q, suite.latents)[0][:, None]
        kl = suite.structure.kl_divergence(given, tf.constant(other))
        close(kl, -entropy - (p * log_q).sum(1), "KL of two laws", tolerance)
        best = suite.structure.argmax(given)
        actual = suite.structure.log_prob(best, given)
        close(actual, totals.max(1) - expected, "log_prob", tolerance)
    large = tf.constant(suite.scores(1e6, np.float32))
    best = suite.structure.argmax(large)
    actual = np.asarray(suite.structure.log_prob(best, large))
    expect(np.all((actual <= 0) & (actual > -10)), f"log_prob at 1e6: {actual}.")
    marginals = np.asarray(suite.structure.marginals(large))
    close(marginals, best, "marginals at scores of 1e6", 1e-3)


def check_samples(suite: Suite, num_samples: int) -> None:
    """Exact samples by a chi-square of all structures' frequencies."""
    scores = tf.constant(suite.scores(1.0, np.float32))
    seed = random.make_seed(5)
    samples = suite.structure.sample(scores, num_samples=num_samples, seed=seed)
    expect(
        samples.shape == (num_samples, *scores.shape),
        f"samples have the shape {samples.shape}.",
    )
    expect(np.all(suite.structure.contains(samples)), "a sample left the set.")
    again = suite.structure.sample(scores, num_samples=num_samples, seed=seed)
    expect(np.array_equal(samples, again), "sample is not a function of seed.")
    totals = suite.totals(scores.numpy(), suite.latents)
    log_z, _ = sums(totals, suite.latents)
    p = np.exp(totals - log_z[:, None])
    flat = np.asarray(samples).reshape(num_samples, suite.batch, -1)
    rows = suite.latents.reshape(len(suite.latents), -1)
    same = np.einsum("sbp,zp->bsz", flat, rows) - 0.5 * (
        flat.sum(2).T[:, :, None] + rows.sum(1)
    )
    counts = (same > -0.25).sum(1)
    statistic = ((counts - num_samples * p) ** 2 / (num_samples * p)).sum()
    freedom = suite.batch * (len(rows) - 1)
    # Chi-square of the whole batch; its mean is `freedom`, its variance twice that
    # plus 1 / expected count for rare structures.
    spread = np.sqrt(2 * freedom + (1 / (num_samples * p)).sum())
    expect(
        abs(statistic - freedom) <= 6 * spread + 1e-6,
        f"samples do not follow the law: chi-square {statistic:.1f}, expected "
        f"{freedom} +- {spread:.1f}.",
    )


def check_relaxation(suite: Suite) -> None:
    """The hull, and the limit of low temperatures."""
    scores = tf.constant(suite.scores(1.0, np.float64))
    warm = suite.structure.relaxed_argmax(scores, temperature=1.0)
    expect(np.all(np.asarray(warm) >= -1e-9), "relaxed_argmax below 0.")
    expect(np.all(np.asarray(warm) <= 1 + 1e-9), "relaxed_argmax above 1.")
    # <m, scores> + temperature H(m) is largest: a low temperature gets near the
    # best.
    cold = suite.structure.relaxed_argmax(scores, temperature=0.1)
    best = suite.structure.argmax(scores)
    gaps = [
        suite.structure.score(best - relaxed, scores).numpy()
        for relaxed in (warm, cold)
    ]
    expect(
        np.all(np.abs(gaps[1]) < 0.1 * (1 + np.prod(suite.parts))),
        f"relaxed_argmax at temperature 0.1 is {gaps[1]} off the best score.",
    )
    expect(
        np.mean(np.abs(gaps[1])) <= np.mean(np.abs(gaps[0])) + 1e-9,
        "a lower temperature takes relaxed_argmax away from argmax.",
    )
