"""A short run, for `test_nes_replicas`: prints hashes of weights and slots.

Usage: nes_on_replicas.py mirrored, nes_on_replicas.py forms (further forms of NES;
prints weights, too), or nes_on_replicas.py INDEX PORT PORT
"""

import contextlib
import hashlib
import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
WORKER = sys.argv[1] not in ("mirrored", "forms")
if WORKER:
    cluster = {"worker": [f"127.0.0.1:{port}" for port in sys.argv[2:]]}
    task = {"type": "worker", "index": int(sys.argv[1])}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

# The same threads in all processes: how a matrix product is cut into tasks can
# change its last bits.
tf.config.threading.set_intra_op_parallelism_threads(2)
tf.config.threading.set_inter_op_parallelism_threads(4)
STRATEGY = tf.distribute.MultiWorkerMirroredStrategy() if WORKER else None

import tfnes  # noqa: E402

NES, HybridNES = tfnes.estimators.NES, tfnes.estimators.HybridNES
BY_EXAMPLE = {"population_size": 6, "granularity": "example"}


def population():
    source = tfnes.estimators.nes.NoiseTable(size=1 << 16)
    return NES(population_size=22, sigma=0.1, noise_source=source)


# In the first four every replica has the whole batch; in the others it has its share.
FORMS = {
    "hybrid": lambda: HybridNES(encoder=NES(population_size=6)),
    "learned sigma": lambda: NES(
        population_size=6, sigma=tfnes.estimators.nes.SeparableSigma(sigma=0.1)
    ),
    "sigma by layer": lambda: NES(
        population_size=6, sigma=tfnes.estimators.nes.LayerSigma(sigma=0.1)
    ),
    "activations": lambda: NES(population_size=6, noise="activations"),
    "examples": lambda: NES(noise="activations", **BY_EXAMPLE),
    "low rank": lambda: NES(noise="low_rank", **BY_EXAMPLE),
    "log-potentials": lambda: HybridNES(
        encoder=NES(noise="log_potentials", sigma=1.0, **BY_EXAMPLE)
    ),
    "stochastic softmax": tfnes.estimators.StochasticSoftmax,
}


def run(strategy, estimator=population):
    pixels = np.random.default_rng(0).random((71, 20)) < 0.3
    data = {"image": pixels.astype("float32"), "index": np.arange(71)}
    # 71 = 2 * 32 + 7: the last batch is shared unevenly.
    data = tf.data.Dataset.from_tensor_slices(data).batch(32)
    # Without an index, evaluation numbers the examples of all replicas itself.
    test_data = data.map(lambda batch: {"image": batch["image"]})
    with strategy.scope() if strategy else contextlib.nullcontext():
        keras.utils.set_random_seed(0)
        model = tfnes.models.MLP(hidden_units=8, input_size=20)
        model.compile(
            keras.optimizers.AdamW(1e-2, weight_decay=1e-3, global_clipnorm=1.0),
            estimator(),
        )
    if estimator is not population:
        model.fit(data, epochs=1, verbose=0)
        state = [*model.variables, *model.estimator.variables]
        return np.concatenate([v.numpy().ravel() for v in state]).tolist()
    history = model.fit(data, validation_data=test_data, epochs=1, verbose=0).history
    values = [v.numpy().tobytes() for v in model.variables]
    values += [v.numpy().tobytes() for v in model.optimizer.variables]
    names = ("val_neg_elbo", "val_kl")
    latent = b""
    if not WORKER:
        latent = model.predict(data, verbose=0)["latent"].tobytes()
    return {
        "weights": hashlib.sha256(b"".join(values)).hexdigest(),
        "latent": hashlib.sha256(latent).hexdigest(),
        "history": history["neg_elbo"],
        "validation": [round(history[name][0], 4) for name in names],
        "step": int(model.step.numpy()),
    }


if WORKER:
    print(json.dumps([run(STRATEGY)]))
else:
    device = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * 4
    tf.config.set_logical_device_configuration(device, logical)
    strategies = [None] + [
        tf.distribute.MirroredStrategy(
            [f"CPU:{i}" for i in range(count)],
            cross_device_ops=tf.distribute.ReductionToOneDevice(),
        )
        for count in (2, 4)
    ]
    if sys.argv[1] == "mirrored":
        print(json.dumps([run(strategy) for strategy in strategies]))
    else:
        forms = {
            name: [run(strategy, form) for strategy in strategies[:2]]
            for name, form in FORMS.items()
        }
        print(json.dumps(forms))
