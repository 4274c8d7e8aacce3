"""How fast forms of NES lower the target's loss when a parser is adapted.

    python benchmarks/parser_adaptation.py --seconds 300 --learning_rates 1e-3 1e-2 \
        --estimators "NES(population_size=400, sigma=0.1)"
    python benchmarks/parser_adaptation.py --data_dir=DIR \
        --vectors=DIR/vectors/gl.100.vec \
        --estimators "NES(population_size=400, sigma=0.1)"

Pretrains with trees once, as in gin_configs/parser_nes.gin, on the demo treebank or,
with `--data_dir`, on a pair of real treebanks; then adapts from those weights with
every estimator and learning rate in turn, in one process with one thread, the decoder
frozen (`--train_decoder`: not). Prints the reconstruction loss of the target's test
sentences (nats a word, one sampled tree each) and UAS, after so many updates and so
much CPU time of the updates alone. `--estimators` are Python with the names of
`tfnes.estimators`.
"""

import argparse
import itertools
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import keras
import numpy as np
import setups
import tensorflow as tf

import tfnes
from tfnes.datasets import DemoTreebank
from tfnes.estimators import Supervised
from tfnes.metrics import UAS


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data_dir")
    add("--vectors")
    add("--source", default="UD_Galician-TreeGal")
    add("--target", default="UD_Galician-CTG")
    add("--max_length", type=int, default=25, help="of real training sentences")
    add("--pretrain_epochs", type=int, default=10)
    add("--batch_size", type=int, default=100)
    add("--estimators", nargs="+", required=True)
    add("--learning_rates", nargs="+", type=float, default=[1e-3])
    add("--seed", type=int, default=0)
    add("--train_decoder", action="store_true")
    add("--seconds", nargs="+", type=float, default=[60.0], help="one an estimator")
    flags = parser.parse_args()
    if len(flags.seconds) not in (1, len(flags.estimators)):
        parser.error("--seconds must be one number, or one for each of --estimators")
    return flags


def make_model(flags):
    """Returns the data and a pretrained parser."""
    keras.utils.set_random_seed(flags.seed)
    if flags.data_dir is None:
        data = DemoTreebank(seed=0)
        structure = tfnes.structures.DependencyTree(projective=True)
        model = tfnes.models.Parser(structure, seed=flags.seed)
        size, rate = 8, 2e-3
    else:
        data, model = setups.treebank_parser(
            flags, max_length=flags.max_length, seed=flags.seed
        )
        size, rate = 4, 4e-3
    model.adapt(data)
    model.compile(keras.optimizers.Adam(rate), Supervised())
    for epoch in range(flags.pretrain_epochs):
        batches = data.get_dataset(
            "source_train", batch_size=size, shuffle=True, epoch=epoch
        )
        model.fit(batches, shuffle=False, verbose=0)
    model.decoder_trainable = flags.train_decoder
    return data, model


def specification(dataset):
    """Returns that of its batches, with any number of rows of any length."""
    return {
        name: tf.TensorSpec([None] * spec.shape.rank, spec.dtype)
        for name, spec in dataset.element_spec.items()
    }


def adapt(data, model, flags, *, seconds):
    """Yields `(updates, seconds, loss, UAS)`, the first before any update."""
    test = data.get_dataset("target_test", batch_size=64)
    seed = tfnes.random.make_seed(0)

    def losses(batch):
        found = model.test_losses(batch, seed=seed)["neg_elbo"]
        heads = model.predict_batch(batch)["heads"]
        return tf.boolean_mask(found, batch["lengths"] > 0), heads

    with tfnes.solvers.use_jit_compile(False):  # a few batches, each of another shape
        losses = tf.function(losses, autograph=False).get_concrete_function(
            specification(test)
        )

    def score():
        uas, every = UAS(), []
        for batch in test:
            found, heads = losses(batch)
            uas.update_state(batch, {"heads": heads})
            every.append(found.numpy())
        return np.concatenate(every).mean(), 100 * float(uas.result())

    def batches(epoch):
        return data.get_dataset(
            "target_train", batch_size=flags.batch_size, shuffle=True, epoch=epoch
        )

    yield 0, 0.0, *score()
    signature = [specification(batches(0))]
    step = tf.function(model.train_step, autograph=False, input_signature=signature)
    evaluate = tf.function(
        lambda batch: model.test_losses(batch, seed=seed), input_signature=signature
    )
    owners = [*model.variables, *model.optimizer.variables]
    before = [owner.numpy() for owner in owners]
    for number, batch in enumerate(batches(0)):  # compiles; taken back, and not timed
        evaluate(batch)
        if number == 0:
            step(batch)
    for owner, value in zip(owners, before, strict=True):
        owner.assign(value)
    updates, spent, due = 0, 0.0, 1
    for epoch in itertools.count():
        for batch in batches(epoch):
            start = time.process_time()
            step(batch)
            spent, updates = spent + time.process_time() - start, updates + 1
            over = spent > seconds
            if updates == due or over:
                yield updates, spent, *score()
                due = max(due + 1, int(1.25 * due))
            if over:
                return


def main():
    flags = parse()
    data, model = make_model(flags)
    weights = model.get_weights()
    limits = flags.seconds * (len(flags.estimators) // len(flags.seconds))
    for expression, limit in zip(flags.estimators, limits, strict=True):
        for rate in flags.learning_rates:
            model.set_weights(weights)
            optimizer = keras.optimizers.Adam(rate, epsilon=1e-8)
            model.compile(optimizer, setups.estimator_of(expression))
            optimizer.build(model.optimized_variables)
            print(f"{expression}, rate {rate:g}, seed {flags.seed}")
            rows = adapt(data, model, flags, seconds=limit)
            for updates, seconds, loss, uas in rows:
                print(
                    f"{updates:6d} updates {seconds:8.2f} s  loss {loss:.4f}  "
                    f"UAS {uas:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
