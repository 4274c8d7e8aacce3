"""Times an NES update on one device, on two devices, and in two worker processes.

    python benchmarks/nes_replicas.py                    # the VAE of Appendix B.4
    python benchmarks/nes_replicas.py --model=nri_64

Needs two free cores. Each way runs in processes of its own, with one thread for each
device, so that two devices have twice the threads of one; the processes update in
turn, one way after another, and the best of the rounds counts. All ways do the same
updates and end with the same loss.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time

ROWS = {  # strategy, processes, threads of each process
    "one device, one thread": ("none", 1, 1),
    "one device, two threads": ("none", 1, 2),
    "two logical devices": ("mirrored", 1, 2),
    "two worker processes": ("multi_worker", 2, 1),
}


def make_model(name, tfnes, np, tf):
    """Returns a model and a batch for it."""
    if name == "mlp":
        pixels = np.random.default_rng(0).random((128, 784)) < 0.3
        return tfnes.models.MLP(hidden_units=300), {"image": pixels.astype("float32")}
    width = int(name.removeprefix("nri_"))
    positions = np.random.default_rng(0).normal(size=(128, 10, 10, 2))
    model = tfnes.models.NRI(tfnes.structures.SpanningTree(), hidden_units=width)
    return model, {"positions": positions.astype("float32")}


def work(flags):
    """Updates once for each line that is read; prints the seconds and the loss."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["TF_NUM_INTRAOP_THREADS"] = "1"
    name, _, threads = ROWS[flags.work]
    os.environ["TF_NUM_INTEROP_THREADS"] = str(threads)
    import keras
    import numpy as np
    import tensorflow as tf

    import tfnes
    from tfnes.experiments.distribution import strategy_scope

    scope = strategy_scope(name, num_devices=2 if name == "mirrored" else None)
    with scope:
        keras.utils.set_random_seed(0)
        model, batch = make_model(flags.model, tfnes, np, tf)
        model.compile(
            keras.optimizers.Adam(1e-3),
            tfnes.estimators.NES(
                population_size=flags.population_size,
                sigma=0.01,
                noise_source=flags.noise,
            ),
        )
        model.build(tf.nest.map_structure(tf.constant, batch))
        model.optimizer.build(model.optimized_variables)
    batch |= {"index": np.arange(128, dtype="int32")}
    data = tf.data.Dataset.from_tensor_slices(batch).repeat().batch(128)
    if name != "none":
        data = model.distribute_strategy.experimental_distribute_dataset(data)
    iterator = iter(data)

    @tf.function(autograph=False)
    def update(iterator):
        logs = model.distribute_strategy.run(model.train_step, args=(next(iterator),))
        return model.distribute_strategy.experimental_local_results(logs["neg_elbo"])[0]

    for _ in sys.stdin:
        start = time.perf_counter()
        loss = update(iterator).numpy().item()
        print(json.dumps([time.perf_counter() - start, loss]), flush=True)


def start(name, arguments):
    """Starts the processes of a row; returns them."""
    ports = []
    for _ in range(ROWS[name][1]):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(f"127.0.0.1:{probe.getsockname()[1]}")
    processes = []
    for index in range(len(ports)):
        environment = dict(os.environ)
        if len(ports) > 1:
            task = {"type": "worker", "index": index}
            cluster = {"worker": ports}
            environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
        processes.append(
            subprocess.Popen(
                [sys.executable, __file__, f"--work={name}", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
        )
    return processes


def update(processes):
    """Makes all processes of a row do one update; returns seconds and loss."""
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    results = [json.loads(process.stdout.readline()) for process in processes]
    return max(seconds for seconds, _ in results), results[0][1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mlp", help="mlp, nri_64, nri_256")
    parser.add_argument("--population_size", type=int, default=304)
    parser.add_argument("--noise", default="table", choices=("fresh", "table"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--work", choices=ROWS, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.work:
        work(flags)
        return
    rows = {name: start(name, sys.argv[1:]) for name in ROWS}
    best = dict.fromkeys(rows, float("inf"))
    for number in range(flags.rounds + 1):
        losses = {}
        for name, processes in rows.items():
            seconds, losses[name] = update(processes)
            if number:  # the first call traces
                best[name] = min(best[name], seconds)
    for processes in rows.values():
        for process in processes:
            process.stdin.close()
            process.wait()
    print(
        f"{flags.model}, N = {flags.population_size}, noise {flags.noise}, batch 128, "
        f"best of {flags.rounds}"
    )
    print(f"{'':24}{'s/update':>9}{'times one':>11}{'loss':>14}")
    for name, seconds in best.items():
        speed = best["one device, one thread"] / seconds
        print(f"{name:24}{seconds:9.3f}{speed:11.2f}{losses[name]:14.5f}")


if __name__ == "__main__":
    main()
