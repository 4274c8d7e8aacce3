"""Which variables are the encoder's and which the decoder's."""

import keras
import pytest
import tensorflow as tf

import tfnes
from tfnes.errors import ConfigurationError
from tfnes.structures import Categorical, DependencyTree, SpanningTree


def names(variables):
    return [variable.path for variable in variables]


def batches():
    image = {"image": tf.ones([3, 4])}
    yield tfnes.models.MLP(hidden_units=3, input_size=4), image
    positions = {"positions": tf.random.stateless_normal([2, 6, 4, 2], [0, 1])}
    yield tfnes.models.NRI(SpanningTree(), hidden_units=4), positions


@pytest.mark.parametrize("part", [0, 1], ids=["mlp", "nri"])
def test_of_models_with_two_halves(part):
    model, batch = list(batches())[part]
    model.build(batch)
    assert names(model.encoder_variables) == names(model.encoder.trainable_variables)
    assert names(model.decoder_variables) == names(model.decoder.trainable_variables)
    model.encoder.trainable = False
    assert model.encoder_variables == []
    assert names(model.decoder_variables) == names(model.decoder.trainable_variables)
    model.encoder.trainable = True
    model.decoder.trainable = False
    assert names(model.encoder_variables) == names(model.encoder.trainable_variables)
    assert model.decoder_variables == []


def test_of_the_parser(without_xla):
    data = tfnes.datasets.DemoTreebank()
    model = tfnes.models.Parser(DependencyTree(), hidden_size=3, scorer_size=3)
    model.adapt(data)
    with pytest.raises(ConfigurationError, match="seen none yet"):
        model.encoder_variables  # noqa: B018
    model.build(next(iter(data.get_dataset("target_train", batch_size=3))))
    labels = {id(v) for v in model.encoder.relation_scorer.variables}
    scores = [v for v in model.encoder.trainable_variables if id(v) not in labels]
    assert names(model.encoder_variables) == names(scores)
    decoder = names(model.decoder.trainable_variables)
    if not model.has_vectors:
        decoder.append(model.decoder_table.path)
    assert sorted(names(model.decoder_variables)) == sorted(decoder)
    model.decoder_trainable = False
    assert model.decoder_variables == []
    # Perturbed or not, the relation scorer does not reach the trees.
    model.elbo_with_relations = True
    assert names(model.encoder_variables) == names(scores)


class Odd(tfnes.models.StructuredVAE):
    """Tied weights, rounding, a second head, a learned prior, an unused weight."""

    def __init__(self, **kwargs):
        super().__init__(Categorical(), **kwargs)
        self.table, self.scale, self.head, self.prior, self.unused = (
            self.add_weight(name=name, shape=(2, 2), initializer="ones")
            for name in ("table", "scale", "head", "prior", "unused")
        )
        self.norm = keras.layers.BatchNormalization()

    def encode(self, batch, *, training=False):
        hidden = self.norm(tf.matmul(batch["x"], self.table), training=training)
        self.auxiliary = tf.matmul(hidden, self.head)
        return tf.round(hidden)

    def log_likelihood(self, batch, latent, *, training=False):
        del batch, training
        mean = tf.matmul(tf.matmul(latent, self.table), self.scale)
        return tf.reduce_sum(tf.stop_gradient(mean), axis=1)

    def kl_divergence(self, log_potentials, latent, *, lengths=None):
        del lengths
        return tf.reduce_sum(log_potentials + self.prior[0] * latent, axis=1)


def test_values_count_not_gradients_nor_reads():
    model = Odd()
    model.build({"x": tf.ones([3, 2])})
    assert [v.name for v in model.encoder_variables] == ["table", "gamma", "beta"]
    assert [v.name for v in model.decoder_variables] == ["table", "scale", "prior"]


def test_a_loaded_model_knows(tmp_path):
    model, batch = next(batches())
    model.compile("sgd", tfnes.estimators.Exact())
    model.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert len(again.encoder_variables) == len(again.decoder_variables) == 4
