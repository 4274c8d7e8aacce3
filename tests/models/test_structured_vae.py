import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnes
from tfnes import random
from tfnes.errors import ConfigurationError
from tfnes.models.update import slots_of
from tfnes.registration import register


@register("metric")
class MeanCode(keras.metrics.Mean):
    """Mean index of the predicted category of the real examples."""

    def __init__(self, name="mean_code", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, batch, outputs):
        code = tf.argmax(outputs["latent"], axis=-1)
        super().update_state(tf.cast(code, tf.float32), batch["lengths"] > 0)


@register("model")
class Look(tfnes.models.StructuredVAE):
    """Integer and float features, a look-up table, padding rows."""

    def __init__(self, structure, **kwargs):
        super().__init__(structure, **kwargs)
        self.table = keras.layers.Embedding(7, 3)
        self.score = keras.layers.Dense(4)
        self.unused = keras.layers.Dense(2)
        self.decode = keras.layers.Dense(2)

    def encode(self, batch, *, training=False):
        words = self.table(batch["words"])
        return self.score(tf.reduce_mean(words, axis=1))

    def log_likelihood(self, batch, latent, *, training=False):
        errors = batch["x"] - self.decode(latent)
        # Padding holds NaN, which must count nowhere.
        real = batch["lengths"] > 0
        return tf.where(real, -tf.reduce_sum(errors**2, axis=-1), float("nan"))

    def touched_rows(self, batch):
        return [(self.table.embeddings, batch["words"])]


def dataset(size=10, batch_size=4, as_index=None):
    generator = np.random.default_rng(0)
    data = {
        "words": generator.integers(0, 5, [size, 3]).astype("int32"),
        "x": generator.normal(size=[size, 2]).astype("float32"),
        "lengths": np.where(np.arange(size) % 4 == 3, 0, 3).astype("int32"),
        "index": np.arange(size, dtype="int32"),
    }
    return tf.data.Dataset.from_tensor_slices(data).batch(batch_size)


def compiled(estimator=None, **kwargs):
    keras.utils.set_random_seed(0)
    model = Look(tfnes.structures.Categorical(), seed=4)
    estimator = estimator or tfnes.estimators.NES(population_size=8, sigma=0.1)
    model.compile(keras.optimizers.Adam(0.02), estimator, [MeanCode()], **kwargs)
    return model


def values(model):
    return [v.numpy() for v in [*model.variables, *model.optimizer.variables]]


def assert_equal(first, second):
    for one, two in zip(values(first), values(second), strict=True):
        np.testing.assert_array_equal(one, two)


def test_fit_evaluate_predict_save_and_go_on(tmp_path):
    model = compiled()
    history = model.fit(
        dataset(), validation_data=dataset(), epochs=2, verbose=0
    ).history
    assert set(history) == {
        "neg_elbo",
        "population_mean",
        "population_std",
        "gradient_norm",
        "dropped_pairs",
        "skipped_updates",
        "evaluations/s",
        *("val_neg_elbo", "val_log_likelihood", "val_kl", "val_mean_code"),
    }
    assert np.all(np.isfinite(list(history.values())))
    assert model.step == 6 and model.optimizer.iterations == 6

    scores = model.evaluate(dataset(), verbose=0, return_dict=True)
    assert scores["neg_elbo"] == history["val_neg_elbo"][-1]
    latent = model.predict(dataset(), verbose=0)["latent"]
    assert latent.shape == (10, 4)
    codes = latent.argmax(-1)[np.arange(10) % 4 != 3]
    np.testing.assert_allclose(scores["mean_code"], codes.mean(), rtol=1e-5)

    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.structure == model.structure and again.seed == 4
    assert again.estimator.get_config() == model.estimator.get_config()
    assert_equal(again, model)
    for each in (model, again):
        each.fit(dataset(), verbose=0)
    assert_equal(again, model)
    again.load_weights(tmp_path / "model.keras")
    assert again.step == 6


def test_weights_load_into_a_model_that_is_not_compiled(tmp_path):
    model = compiled()
    model.fit(dataset(), verbose=0)
    model.save_weights(tmp_path / "model.weights.h5")
    keras.utils.set_random_seed(1)
    other = Look(tfnes.structures.Categorical())
    other.build(dataset().element_spec)
    other.load_weights(tmp_path / "model.weights.h5")
    for one, two in zip(model.variables, other.variables, strict=True):
        np.testing.assert_array_equal(one, two)


def test_checkpoint_holds_the_estimators_state(tmp_path):
    model = compiled()
    model.fit(dataset(), verbose=0)
    model.estimator._empty_steps.assign(3)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    path = checkpoint.save(str(tmp_path / "state"))
    before = values(model)
    model.fit(dataset(), verbose=0)
    assert model.estimator._empty_steps == 0
    checkpoint.restore(path).assert_consumed()
    assert model.estimator._empty_steps == 3
    for one, two in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(one, two)


def test_one_run_is_like_two_halves_and_steps_per_execution_changes_nothing():
    whole, halves, joined = compiled(), compiled(), compiled(steps_per_execution=3)
    whole.fit(dataset(), epochs=2, verbose=0)
    halves.fit(dataset(), verbose=0)
    halves.fit(dataset(), verbose=0)
    joined.fit(dataset(), epochs=2, verbose=0)
    assert_equal(halves, whole)
    assert_equal(joined, whole)


def test_the_loss_is_that_of_the_real_examples_with_the_shared_noise():
    model = compiled()
    batch = next(iter(dataset()))
    model(batch)
    seed = random.fold_in(random.make_seed(4), 0)
    terms = model.elbo(batch, seed=seed, training=True)
    real = np.asarray(batch["lengths"]) > 0
    expected = terms.neg_elbo.numpy()[real].mean()
    logs = model.train_on_batch(batch, return_dict=True)
    np.testing.assert_allclose(logs["neg_elbo"], expected, rtol=1e-5)


def test_latent_noise_is_keyed_by_the_index():
    model = compiled()
    batch = next(iter(dataset(8, 8)))
    order = tf.constant([5, 1, 6])
    part = {key: tf.gather(value, order) for key, value in batch.items()}
    seed = random.make_seed(3)
    whole, some = (model.elbo(b, seed=seed).latent for b in (batch, part))
    np.testing.assert_array_equal(some, tf.gather(whole, order))
    shared = model.shared_terms(batch, seed=seed)
    terms = model.elbo(batch, shared=shared)
    drawn = model.share_noise(batch, terms, shared=shared)
    np.testing.assert_array_equal(model.elbo(batch, shared=drawn).latent, whole)


def test_recompiling_changes_the_estimator_and_keeps_the_model():
    model = compiled()
    model.fit(dataset(), verbose=0)
    model.compile(keras.optimizers.SGD(0.1), tfnes.estimators.Exact())
    data = dataset().map(lambda b: {**b, "lengths": tf.ones_like(b["lengths"])})
    history = model.fit(data, verbose=0).history
    assert set(history) == {"neg_elbo", "skipped_updates"}
    assert model.step == 6


def test_traces_once_for_batches_of_one_shape():
    class Counting(tfnes.estimators.NES):
        calls = 0

        def estimate(self, *args, **kwargs):
            Counting.calls += 1
            return super().estimate(*args, **kwargs)

    model = compiled(Counting(population_size=4))
    model.fit(dataset(12), epochs=3, verbose=0)
    assert Counting.calls == 1


def test_metrics_must_be_keras_metrics():
    model = Look(tfnes.structures.Categorical())
    with pytest.raises(ConfigurationError, match=r"keras.metrics.Metric.*'accuracy'"):
        model.compile(
            "adam", tfnes.estimators.NES(population_size=2), metrics=["accuracy"]
        )


@pytest.mark.parametrize("rate", [float("nan"), float("inf")])
def test_a_learning_rate_must_be_finite(rate):
    model = Look(tfnes.structures.Categorical())
    with pytest.raises(ConfigurationError, match=r"SGD.learning_rate.*" + str(rate)):
        model.compile(keras.optimizers.SGD(rate), tfnes.estimators.NES())


def test_slots_are_found_though_names_begin_alike():
    first, second = keras.Variable(np.zeros([2, 2]), name="table"), None
    second = keras.Variable(np.zeros([2, 2]), name="table_more")
    optimizer = keras.optimizers.Adam()
    optimizer.build([first, second])
    names = [slot.name for slot in slots_of(optimizer, first)]
    assert names == ["table_momentum", "table_velocity"]
    names = [slot.name for slot in slots_of(optimizer, second)]
    assert names == ["table_more_momentum", "table_more_velocity"]


def test_predict_reports_what_has_no_right_answer():
    model = compiled()
    model.predict(dataset(), verbose=0)
    kernel = model.table.embeddings
    kernel.assign(tf.fill(kernel.shape, float("nan")))
    with pytest.raises(tf.errors.InvalidArgumentError, match="no finite optimum"):
        model.predict(dataset(), verbose=0)
