"""Times exported NES updates with JAX: needs jax and numpy, no TensorFlow.

    python benchmarks/exported_step.py --write=DIR      # needs tfnes: makes the exports
    python benchmarks/exported_step.py DIR/*            # here, or on another machine

Every export is a folder that `tfnes.export_step` wrote. Prints, on JAX's first device,
best of several rounds: an update against as many plain evaluations of the same batch
(the latent noise drawn before, as for a member of the population), the memory that the
update takes beside its arguments, and what one more evaluation costs where a model was
exported with several N.
"""

import argparse
import collections
import json
import pathlib
import time

import jax
import numpy as np
from jax.extend import backend, mlir

jax.config.update("jax_enable_x64", True)  # counters have 64 bits


def load(directory, name="update"):
    """Returns the compiled module, its part of the manifest, and its arguments."""
    directory = pathlib.Path(directory)
    part = json.loads((directory / "manifest.json").read_text())[name]
    module = mlir.hlo_to_stablehlo((directory / part["file"]).read_bytes())
    client = backend.get_backend()
    executable = client.compile_and_load(
        module, client.local_devices()[:1], backend.get_compile_options(1, 1)
    )
    arrays = np.load(directory / "inputs.npz")
    return executable, part, [jax.device_put(arrays[i["name"]]) for i in part["inputs"]]


def run(executable, part, inputs):
    """Runs once. Puts the new state among `inputs` and returns the metrics by name."""
    results = executable.execute_sharded(inputs).disassemble_into_single_device_arrays()
    metrics = {}
    for output, (array,) in zip(part["outputs"], results, strict=True):
        if output["input"] is None:
            metrics[output["name"]] = array
        else:
            inputs[output["input"]] = array
    return metrics


def best_seconds(function, rounds):
    function()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def measure(directory, rounds):
    manifest = json.loads((directory / "manifest.json").read_text())
    evaluations = manifest["evaluations_per_update"]
    start = time.perf_counter()
    update = load(directory)
    compilation = time.perf_counter() - start
    forward = load(directory, "forward")

    def plain():
        for _ in range(evaluations):
            metrics = run(*forward)
        return metrics

    return {
        "model": manifest["model"]["class_name"],
        "N": evaluations,
        "update": best_seconds(lambda: run(*update), rounds),
        "plain": best_seconds(plain, rounds),
        "compilation": compilation,
        "megabytes": update[0].get_compiled_memory_stats().temp_size_in_bytes / 2**20,
    }


def write(directory, scale):
    """Exports the models of the paper with several population sizes."""
    import keras
    import tensorflow as tf

    import tfnes
    from tfnes import datasets, estimators, models, structures

    rng = np.random.default_rng(0)
    size = {"paper": 128, "small": 16}[scale]
    width = {"paper": 1, "small": 4}[scale]
    treebank = datasets.DemoTreebank()
    layout = datasets.GraphLayout(num_vertices=10, num_train=size)

    def parser(projective):
        model = models.Parser(
            structures.DependencyTree(projective=projective),
            hidden_size=125 // width,
            decoder_trainable=False,
        )
        model.adapt(treebank)
        return model

    sentences = treebank.get_dataset("target_train", batch_size=size, shuffle=False)
    sentences = next(iter(sentences))
    pixels = tf.constant(rng.random([size, 784]) < 0.3, tf.float32)
    graphs = next(iter(layout.get_dataset("train", batch_size=size)))
    kinds = {
        "mlp": (lambda: models.MLP(hidden_units=300 // width), {"image": pixels}),
        "nri": (
            lambda: models.NRI(structures.SpanningTree(), hidden_units=64 // width),
            graphs,
        ),
        "parser_projective": (lambda: parser(True), sentences),
        "parser_nonprojective": (lambda: parser(False), sentences),
    }
    for name, (make, batch) in kinds.items():
        for population_size in (60, 600):
            keras.utils.set_random_seed(0)
            model = make()
            model.compile(
                keras.optimizers.Adam(1e-3),
                estimators.NES(population_size=population_size, sigma=0.1),
            )
            path = pathlib.Path(directory) / f"{name}_{population_size:03}"
            tfnes.export_step(model, batch, path)
            print(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directories", nargs="*", type=pathlib.Path)
    parser.add_argument("--write", metavar="DIR", help="make exports instead")
    parser.add_argument("--scale", choices=("paper", "small"), default="paper")
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    if flags.write:
        write(flags.write, flags.scale)
        return
    device = jax.local_devices()[0]
    print(f"{device.device_kind} ({device.platform}), jax {jax.__version__}")
    print(f"{'':26}{'N':>5}{'update':>10}{'N plain':>10}{'ratio':>7}{'MB':>8}")
    by_model = collections.defaultdict(list)
    for directory in flags.directories:
        found = measure(directory, flags.rounds)
        by_model[directory.name.rsplit("_", 1)[0]].append(found)
        print(
            f"{directory.name:26}{found['N']:5}{found['update']:9.4f}s"
            f"{found['plain']:9.4f}s{found['update'] / found['plain']:7.2f}"
            f"{found['megabytes']:8.1f}   compiled in {found['compilation']:.1f} s",
            flush=True,
        )
    for name, group in by_model.items():
        few, many = min(group, key=lambda f: f["N"]), max(group, key=lambda f: f["N"])
        if few["N"] == many["N"]:
            continue
        each = (many["update"] - few["update"]) / (many["N"] - few["N"])
        print(
            f"{name}: from N = {few['N']} to {many['N']} the update takes "
            f"{many['update'] / few['update']:.2f} times as long, "
            f"{1e3 * each:.3f} ms for each evaluation more; "
            f"memory {few['megabytes']:.1f} to {many['megabytes']:.1f} MB"
        )


if __name__ == "__main__":
    main()
