"""Evaluations a second: counted by the mean of the loss, timed without the trace."""

import keras
import tensorflow as tf

import tfnes
from tfnes.models import rate as rates
from tfnes.models.progress import Progress


def test_rate_is_that_of_the_calls_after_the_first(monkeypatch):
    now = iter([0.0, 10.0, 20.0, 22.0, 50.0, 54.0])
    monkeypatch.setattr(rates.time, "perf_counter", lambda: next(now))
    progress = Progress()
    progress.compile(train=["loss"], test=[], metrics=[])
    rate = rates.EvaluationRate(progress, loss_name="loss", evaluations_per_step=300)
    assert rate.logs() == {}

    def update(examples):
        progress.update("loss", tf.constant(0.0), tf.constant(examples))
        return "logs"

    assert rate.run(update, 5.0) == "logs"
    assert rate.logs() == {"evaluations/s": 150.0}  # there is no other call yet
    rate.run(update, 8.0)
    assert rate.logs() == {"evaluations/s": 1200.0}
    progress.means["loss"].reset_state()  # a new epoch
    rate.run(update, 10.0)
    assert rate.logs() == {"evaluations/s": 300 * 18 / 6}


def test_fit_shows_it_where_an_update_makes_several():
    def history(estimator):
        model = tfnes.models.MLP(hidden_units=2, input_size=3)
        model.compile(keras.optimizers.SGD(), estimator)
        data = tf.data.Dataset.from_tensors({"image": tf.ones([4, 3])})
        return model.fit(data, epochs=2, verbose=0).history

    found = history(tfnes.estimators.NES(population_size=4))
    assert len(found["evaluations/s"]) == 2
    assert all(value > 0 for value in found["evaluations/s"])
    assert "evaluations/s" not in history(tfnes.estimators.Exact())
