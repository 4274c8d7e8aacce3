"""Times one NES update of the VAE of Appendix B.4 in tfnes and in other programs.

    python benchmarks/nes_peers.py --peers_python=/path/to/python

784-300-10-300-784 on binary images, batch 128, N = 300, sigma 0.1, Adam with 1e-3, one
core. Each program runs in a process of its own, in turn, and prints seconds an update
(best round) and peak memory: tfnes, also with one evaluation of the decoder for each
image, as all others do it; evosax; EvoTorch; and a loop in PyTorch over the members one
by one, the way of the authors' code (noise drawn from a seed for each member, and again
when the gradient is summed). `--peers_python` is the interpreter that has
evosax and EvoTorch, which tfnes does not need; without it only tfnes is timed.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

PIXELS, HIDDEN, CODES, BATCH = 784, 300, 10, 128
POPULATION, SIGMA, LEARNING_RATE = 300, 0.1, 1e-3
SHAPES = [
    (PIXELS, HIDDEN),
    (HIDDEN,),
    (HIDDEN, CODES),
    (CODES,),
    (CODES, HIDDEN),
    (HIDDEN,),
    (HIDDEN, PIXELS),
    (PIXELS,),
]


def random_images(np):
    return (np.random.default_rng(0).random((BATCH, PIXELS)) < 0.3).astype("float32")


def random_weights(np):
    rng = np.random.default_rng(1)
    fan_in = [shape[0] if len(shape) == 2 else None for shape in SHAPES]
    fan_in = [n or before for n, before in zip(fan_in, [1, *fan_in], strict=False)]
    return [
        rng.uniform(-(n**-0.5), n**-0.5, shape).astype("float32")
        for n, shape in zip(fan_in, SHAPES, strict=True)
    ]


def make_tfnes(noise, per_image=False):
    import keras
    import numpy as np
    import tensorflow as tf

    import tfnes

    batch = {"image": tf.constant(random_images(np))}

    class PerImage(tfnes.models.MLP):
        def hard_log_likelihood(self, batch, latent, *, training=False):
            return self.log_likelihood(batch, latent, training=training)

    kind = PerImage if per_image else tfnes.models.MLP
    model = kind(hidden_units=HIDDEN)
    model.compile(
        keras.optimizers.Adam(LEARNING_RATE),
        tfnes.estimators.NES(
            population_size=POPULATION, sigma=SIGMA, noise_source=noise
        ),
    )
    model.build(batch)
    model.optimizer.build(model.optimized_variables)
    step = tf.function(model.train_step, autograph=False)
    return lambda: float(step(batch)["neg_elbo"])


def make_evosax():
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    from evosax.algorithms import Open_ES

    images = jnp.asarray(random_images(np))
    weights = [jnp.asarray(w) for w in random_weights(np)]

    def loss(weights, key):
        w1, b1, w2, b2, w3, b3, w4, b4 = weights
        logits = jax.nn.relu(images @ w1 + b1) @ w2 + b2
        noise = jax.random.gumbel(key, logits.shape)
        code = jax.nn.one_hot(jnp.argmax(logits + noise, -1), CODES)
        pixels = jax.nn.relu(code @ w3 + b3) @ w4 + b4
        nll = jnp.sum(jax.nn.softplus(pixels) - images * pixels, -1)
        log_q = jax.nn.log_softmax(logits)
        kl = jnp.sum(jnp.exp(log_q) * (log_q + jnp.log(CODES)), -1)
        return jnp.mean(nll + kl)

    strategy = Open_ES(
        population_size=POPULATION,
        solution=weights,
        optimizer=optax.adam(LEARNING_RATE),
        std_schedule=optax.constant_schedule(SIGMA),
    )
    settings = strategy.default_params
    state = strategy.init(jax.random.key(0), weights, settings)

    @jax.jit
    def update(state, key):
        ask, gumbel, tell = jax.random.split(key, 3)
        population, state = strategy.ask(ask, state, settings)
        losses = jax.vmap(loss, (0, None))(population, gumbel)
        state, _ = strategy.tell(tell, population, losses, state, settings)
        return state, jnp.mean(losses)

    holder = {"state": state, "step": 0}

    def step():
        key = jax.random.key(holder["step"])
        holder["state"], mean = update(holder["state"], key)
        holder["step"] += 1
        return float(mean)

    return step


def make_evotorch():
    import numpy as np
    import torch
    from evotorch import Problem
    from evotorch.algorithms import PGPE

    torch.set_num_threads(1)
    images = torch.from_numpy(random_images(np))
    weights = [torch.from_numpy(w) for w in random_weights(np)]
    sizes = [w.numel() for w in weights]
    start = torch.cat([w.reshape(-1) for w in weights])

    def losses(flat):
        pieces = torch.split(flat, sizes, dim=1)
        w1, b1, w2, b2, w3, b3, w4, b4 = (
            piece.reshape(-1, *shape)
            for piece, shape in zip(pieces, SHAPES, strict=True)
        )
        hidden = torch.relu(images @ w1 + b1[:, None])
        logits = hidden @ w2 + b2[:, None]
        uniform = torch.rand(BATCH, CODES).clamp_min(1e-20)
        noisy = logits - torch.log(-torch.log(uniform))
        code = torch.nn.functional.one_hot(noisy.argmax(-1), CODES).float()
        pixels = torch.relu(code @ w3 + b3[:, None]) @ w4 + b4[:, None]
        nll = (torch.nn.functional.softplus(pixels) - images * pixels).sum(-1)
        log_q = torch.log_softmax(logits, -1)
        kl = (log_q.exp() * (log_q + np.log(CODES))).sum(-1)
        return (nll + kl).mean(-1)

    problem = Problem(
        "min",
        losses,
        solution_length=start.numel(),
        initial_bounds=(-0.01, 0.01),
        vectorized=True,
        device="cpu",
    )
    search = PGPE(
        problem,
        popsize=POPULATION,
        center_learning_rate=LEARNING_RATE,
        stdev_learning_rate=0.0,
        stdev_init=SIGMA,
        optimizer="adam",
        center_init=start,
    )

    def step():
        with torch.no_grad():
            search.step()
        return float(search.status["mean_eval"])

    return step


def make_loop():
    import numpy as np
    import torch

    torch.set_num_threads(1)
    images = torch.from_numpy(random_images(np))
    weights = [torch.from_numpy(w) for w in random_weights(np)]
    optimizer = torch.optim.Adam(weights, lr=LEARNING_RATE)

    def loss(weights, uniform):
        w1, b1, w2, b2, w3, b3, w4, b4 = weights
        logits = torch.relu(images @ w1 + b1) @ w2 + b2
        noisy = logits - torch.log(-torch.log(uniform))
        code = torch.nn.functional.one_hot(noisy.argmax(-1), CODES).float()
        pixels = torch.relu(code @ w3 + b3) @ w4 + b4
        nll = (torch.nn.functional.softplus(pixels) - images * pixels).sum(-1)
        log_q = torch.log_softmax(logits, -1)
        kl = (log_q.exp() * (log_q + np.log(CODES))).sum(-1)
        return float((nll + kl).mean())

    def noise(seed):
        generator = torch.Generator().manual_seed(int(seed))
        return [torch.randn(shape, generator=generator) for shape in SHAPES]

    def step():
        uniform = torch.rand(BATCH, CODES).clamp_min(1e-20)
        seeds = np.random.randint(0, 10**7, POPULATION // 2)
        members = [(seed, sign) for seed in seeds for sign in (1, -1)]
        losses = np.array(
            [
                loss(
                    [
                        w + sign * SIGMA * n
                        for w, n in zip(weights, noise(seed), strict=True)
                    ],
                    uniform,
                )
                for seed, sign in members
            ]
        )
        scores = (losses - losses.mean()) / losses.std()
        gradients = [torch.zeros_like(w) for w in weights]
        for (seed, sign), score in zip(members, scores, strict=True):
            for gradient, n in zip(gradients, noise(seed), strict=True):
                gradient += sign * score * n / (POPULATION * SIGMA)
        for w, gradient in zip(weights, gradients, strict=True):
            w.grad = gradient
        optimizer.step()
        return losses.mean()

    return step


MAKERS = {
    "tfnes, table": lambda: make_tfnes("table"),
    "tfnes, fresh": lambda: make_tfnes("fresh"),
    "tfnes, table, per image": lambda: make_tfnes("table", per_image=True),
    "tfnes, fresh, per image": lambda: make_tfnes("fresh", per_image=True),
    "evosax": make_evosax,
    "EvoTorch": make_evotorch,
    "one by one, PyTorch": make_loop,
}


def measure(name, rounds):
    step = MAKERS[name]()
    for _ in range(2):
        loss = step()
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        loss = step()
        best = min(best, time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": best, "megabytes": peak, "loss": loss}))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers_python")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=MAKERS, nargs="+")
    parser.add_argument("--measure", choices=MAKERS, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.measure:
        measure(flags.measure, flags.rounds)
        return
    print(f"{'':24} {'s/update':>9} {'peak MB':>9} {'loss':>8}")
    for name in flags.only or MAKERS:
        python = sys.executable if name.startswith("tfnes") else flags.peers_python
        if python is None:
            continue
        result = subprocess.run(
            [python, __file__, f"--measure={name}", f"--rounds={flags.rounds}"],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        row = json.loads(result.stdout.splitlines()[-1])
        print(
            f"{name:24} {row['seconds']:9.3f} {row['megabytes']:9.0f} "
            f"{row['loss']:8.1f}"
        )


if __name__ == "__main__":
    main()
