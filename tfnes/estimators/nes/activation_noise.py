"""Noise where it acts: on the outputs of layers, for each example or for the batch."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfnes import random
from tfnes.errors import ConfigurationError
from tfnes.estimators.nes.fitness import Fitness
from tfnes.estimators.nes.layer_call import Evaluation, Settings
from tfnes.estimators.nes.layer_noise import LayerNoise
from tfnes.estimators.nes.noise import NoiseSource
from tfnes.estimators.nes.perturbation import Perturbation, WeightNoise
from tfnes.estimators.nes.records import Coefficients
from tfnes.estimators.nes.rules import Rule, rules_of
from tfnes.models.rows import differing_examples
from tfnes.typing import Seed, Tensor

_LOG = logging.getLogger(__name__)


class ActivationNoise(Perturbation):
    """The law of noise on the weights, drawn on what each layer computes from them.

    Layers with a rule (see `rules`) are evaluated by it. The variables of all others
    get noise of their own, one for the batch.

    Args:
      fitness: what is evaluated.
      variables: the variables to perturb.
      source: draws the noise of variables without a rule.
      seed: `[2]` int32 key of the update.
      sigma: standard deviation of the noise on each variable: a number, or a function
        of the variable.
      index: `[B]` keys of the examples, each of which has noise of its own; None: one
        noise for the batch.
      rank: of low-rank noise A B^T / sqrt(rank) on matrices; None: on the outputs.
      without_rule: `"weights"`, or `"error"`.

    Raises:
      ConfigurationError: if a layer has no rule and `without_rule` is `"error"`.
    """

    def __init__(
        self,
        fitness: Fitness,
        variables: Sequence[keras.Variable],
        *,
        source: NoiseSource,
        seed: Seed,
        sigma: float | Callable[[keras.Variable], Tensor],
        index: Tensor | None,
        rank: int | None = None,
        without_rule: str = "weights",
    ):
        self.variables = list(variables)
        self._fitness = fitness
        self._index = index
        ruled, rest, self._layers = assign_rules(fitness.model, self.variables)
        if rest and without_rule == "error":
            names = ", ".join(variable.path for variable in rest)
            raise ConfigurationError(
                f"No rule says how NES perturbs {names}. Expected layers with rules. "
                "Register one by tfnes.estimators.perturbation_rule, or let "
                "NES.without_rule = 'weights'."
            )
        self._rest = None
        if rest:
            self._rest = WeightNoise(
                fitness, rest, source=source, seed=seed, sigma=_constant(sigma, rest)
            )
        known = {id(variable) for variable in self.variables}
        self.touched = [
            (table, tf.unique(tf.reshape(ids, [-1]))[0])
            for table, ids in fitness.model.touched_rows(fitness.batch)
            if id(table) in known
        ]
        self._values = [(v, tf.convert_to_tensor(v)) for v in ruled]
        if not callable(sigma):
            number = sigma

            def sigma(variable):
                return tf.cast(number, variable.dtype)

        key = random.fold_in(seed, int(random.Stream.PARAMETER_NOISE))
        self._settings = Settings(
            seed=random.fold_in(key, 1),
            index=index,
            sigma=sigma,
            perturbed={id(variable) for variable in ruled},
            rank=rank,
        )

    def zeros(self):
        return [tf.zeros(v.shape, v.dtype) for v in self.variables]

    def evaluate(self, pair):
        losses, contribution = self.evaluate_block([pair])
        return losses, lambda plus, minus: contribution(tf.stack([plus, minus])[None])

    def evaluate_block(self, pairs):
        evaluations, losses, steps = [], [], []
        for pair in pairs:
            draws: dict[Any, Any] = {}
            step = None if self._rest is None else self._rest.step(pair)
            steps.append(step)
            for sign in (1, -1):
                evaluation = Evaluation(self._settings, pair, sign, draws)
                losses.append(self._run(evaluation, step))
                evaluations.append(evaluation)

        def contribution(coefficients: Tensor) -> list[Tensor]:
            return self._contribution(evaluations, steps, coefficients)

        return tf.stack(losses), contribution

    def gradients(self, total):
        return list(total)

    # One evaluation, and what it adds -------------------------------------------------

    def _run(self, evaluation: Evaluation, step: Tensor | None) -> Tensor:
        values = list(self._values)
        if step is not None:
            moved = self._rest.assignments(step, evaluation.sign)
            for _, value in moved:
                if hasattr(value, "graph"):
                    evaluation.sources.add(value.op)
            values += moved
        apart = (
            contextlib.nullcontext() if self._index is None else differing_examples()
        )
        with keras.StatelessScope(values), self._patched(evaluation), apart:
            return self._fitness.each()

    def _contribution(self, evaluations, steps, coefficients: Tensor) -> list[Tensor]:
        """Sums over evaluations; coefficients `[P, 2]` or `[P, 2, B]`."""
        by_example = coefficients.shape.rank == 3
        total = tf.reduce_sum(coefficients, -1) if by_example else coefficients
        weighted: dict[Any, list] = {}
        for number, evaluation in enumerate(evaluations):
            pair, sign = divmod(number, 2)
            each = Coefficients(coefficients[pair, sign], total[pair, sign])
            for record in evaluation.records:
                weighted.setdefault(record.key, []).append((record, each))
        sources = set().union(*(evaluation.sources for evaluation in evaluations))
        moved = _Dependence(sources)
        shares: dict[int, list[Tensor]] = {}
        for group in weighted.values():
            first = group[0][0]
            same = len(group) == len(evaluations) and not any(
                moved(getattr(record, "inputs", None)) for record, _ in group
            )
            for kernel, gradient in first.shares(group, same=same):
                shares.setdefault(id(kernel.variable), []).append(kernel.pad(gradient))
        if self._rest is not None:
            flat = tf.add_n(
                [
                    self._rest.contribution(step, total[pair, 0], total[pair, 1])
                    for pair, step in enumerate(steps)
                ]
            )
            rest = self._rest.gradients(flat)
            for variable, gradient in zip(self._rest.variables, rest, strict=True):
                shares[id(variable)] = [gradient]
        return [
            tf.add_n(shares[id(v)]) if id(v) in shares else tf.zeros(v.shape, v.dtype)
            for v in self.variables
        ]

    @contextlib.contextmanager
    def _patched(self, evaluation: Evaluation) -> Iterator[None]:
        """Lets layers run their rules, until the evaluation ends."""
        done = []
        try:
            for number, (layer, rule) in enumerate(self._layers):
                function = functools.partial(_call, rule, layer, evaluation, number)
                # Not by `setattr`: Keras would track what is assigned.
                object.__setattr__(layer, rule.method, function)
                done.append((layer, rule.method))
            yield
        finally:
            for layer, method in done:
                object.__delattr__(layer, method)


def assign_rules(
    model: keras.Model, variables: Sequence[keras.Variable]
) -> tuple[list[keras.Variable], list[keras.Variable], list[tuple[Any, Rule]]]:
    """Returns the variables that rules perturb, the others, and the layers with rules.

    Args:
      model: whose layers are looked at.
      variables: the variables to perturb.
    """
    wanted = {id(variable): variable for variable in variables}
    covered: set[int] = set()
    layers: list[tuple[Any, Rule]] = []
    seen: set[int] = set()

    def visit(layer: keras.layers.Layer) -> None:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        rules = rules_of(layer)
        inside = any(rule.sublayers for rule in rules)
        own = layer.trainable_variables if inside else layer._trainable_variables
        own = [v for v in own if id(v) in wanted]
        if rules and own:
            layers.extend((layer, rule) for rule in rules)
            covered.update(id(variable) for variable in own)
        if not inside:
            for child in layer._layers:
                visit(child)

    visit(model)
    ruled = [v for v in variables if id(v) in covered]
    rest = [v for v in variables if id(v) not in covered]
    if rest:
        _LOG.info(
            "NES on %s: no rule for %s; the noise of these is on the weights, one for "
            "the batch.",
            model.name,
            ", ".join(variable.path for variable in rest),
        )
    return ruled, rest, layers


def _call(rule: Rule, layer, evaluation: Evaluation, number: int, *args, **kwargs):
    noise = LayerNoise(evaluation, number=number)
    return rule.function(layer, noise, *args, **kwargs)


def _constant(sigma: Any, variables: Sequence[keras.Variable]) -> Any:
    """Returns the sigma of noise on the weights, one number for all."""
    return sigma(variables[0]) if callable(sigma) else sigma


class _Dependence:
    """Tells whether a tensor depends on noise; in eager mode it always may.

    Args:
      sources: operations that do.
    """

    def __init__(self, sources: set[Any]):
        self._known = dict.fromkeys(sources, True)

    def __call__(self, tensor: Tensor | None) -> bool:
        if tensor is None or not hasattr(tensor, "graph"):
            return True
        stack = [tensor.op]
        while stack:
            operation = stack[-1]
            if operation in self._known:
                stack.pop()
                continue
            if _draws_anew(operation):
                self._known[operation] = True
                continue
            before = [value.op for value in operation.inputs]
            open_ones = [each for each in before if each not in self._known]
            if open_ones:
                stack.extend(open_ones)
                continue
            self._known[operation] = any(self._known[each] for each in before)
        return self._known[tensor.op]


_READS = ("ReadVariableOp", "ResourceGather", "Placeholder", "VarHandleOp")


def _draws_anew(operation: tf.Operation) -> bool:
    """Whether two runs of an operation may give two results."""
    definition = operation.op_def
    return (
        definition is not None
        and definition.is_stateful
        and not operation.type.startswith(_READS)
    )
