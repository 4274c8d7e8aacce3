"""An estimator of one's own: differentiable perturbed optimizers."""

import tensorflow as tf

import tfnes


@tfnes.register("estimator", package="examples")
class PerturbedOptimizer(tfnes.estimators.PathwiseEstimator):
    """Relaxes the argmax to its mean under further Gaussian noise of scale t.

    With y(h) = argmax over z of <z, h>, the relaxed latent is the mean over M draws

        E over e ~ N(0, I) of y(h + t e),   with Jacobian  E of y(h + t e) e' / t,

    so a MAP solver is all that it needs of a structure. Draws
    come in mirrored pairs.

    Args:
      num_draws: M, even.
      **kwargs: of `PathwiseEstimator`; `temperature` is t.

    References:
      Berthet et al. (2020), Learning with Differentiable Perturbed Optimizers.
    """

    def __init__(self, *, num_draws: int = 20, **kwargs):
        super().__init__(**kwargs)
        if num_draws < 2 or num_draws % 2:
            raise tfnes.errors.ConfigurationError(
                "PerturbedOptimizer.num_draws must be even and at least 2. "
                f"Received: {num_draws}."
            )
        self.num_draws = num_draws

    def relax(self, model, log_potentials, noise, lengths, *, seed):
        structure, scale = model.structure, self.current_temperature(model)
        # All examples of a batch share the draws.
        parts = tf.shape(log_potentials)[1:]
        shape = tf.concat([[self.num_draws // 2, 1], parts], 0)
        half = tf.random.stateless_normal(shape, seed, dtype=log_potentials.dtype)
        draws = tf.concat([half, -half], 0)
        if lengths is not None:
            count = tf.shape(log_potentials)[0]
            lengths = tf.broadcast_to(lengths, [self.num_draws, count])

        @tf.custom_gradient
        def mean_argmax(scores):
            latents = structure.argmax(scores + scale * draws, lengths=lengths)

            def gradient(upstream):
                axes = list(range(-structure.parts_rank, 0))
                along = tf.reduce_sum(latents * upstream, axis=axes, keepdims=True)
                return tf.reduce_mean(along * draws, axis=0) / scale

            return tf.reduce_mean(latents, axis=0), gradient

        return mean_argmax(log_potentials + noise)

    def get_config(self):
        return {**super().get_config(), "num_draws": self.num_draws}
