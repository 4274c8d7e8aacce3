"""A parser whose latent is the dependency tree of a sentence (section 4.2)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnes import random
from tfnes.errors import ConfigurationError
from tfnes.models.layers import (
    DecoderStates,
    DimensionUniform,
    RowGroup,
    TreeDecoder,
    map_row_groups,
)
from tfnes.models.parser_encoder import ParserEncoder, pad_parts
from tfnes.models.parser_inputs import (
    SentenceInputs,
    drop_words,
    example_index,
    gold_trees,
    node_counts,
    sentence_inputs,
    universal_relations,
    with_root,
)
from tfnes.models.structured_vae import StructuredVAE
from tfnes.registration import register
from tfnes.structures.structure import Structure
from tfnes.typing import Batch, ELBOTerms, Seed, Tensor


@register("model")
class Parser(StructuredVAE):
    """A graph-based dependency parser as encoder, a tree-informed language model.

    Encoder (Kiperwasser & Goldberg 2016): v = BiLSTM(<root>, x_1, ..., x_n) over
    trained word embeddings beside frozen external vectors; the log-potential of the arc from
    head h to modifier m is w . tanh(W_h v_h + W_m v_m + b). Decoder (Corro & Titov
    2019): p(x | T) word by word, each given the words before it and the arcs of T among
    them; see `tfnes.models.layers.TreeDecoder`. It predicts words of the external
    vocabulary, or, without external vectors, of the trained vocabulary, which then has
    an embedding of the decoder's own.

    A batch has `words`, `lengths`, and with vectors `external`; `heads` and `relations`
    for supervised training; `index`, which keys the latent noise. Rows in order of
    decreasing length are fastest. The model puts the root before the words.

    The log-likelihood is the *mean over the words* of a sentence, and there is no KL
    term, both as in the authors' code ("none" in the glossary of KL laws).

    The relation scorer labels arcs; it is trained by `supervised_loss` and the negative
    ELBO does not depend on it. So `elbo_variables` leaves it out. The authors' code
    perturbs it too, which is a random walk; `elbo_with_relations=True` does the same.

    Args:
      structure: the set of trees, a `DependencyTree`.
      embedding_size: of the trained word embeddings.
      hidden_size: units of one direction of the encoder's LSTM.
      num_layers: of the encoder's BiLSTM.
      scorer_size: hidden units of the arc scorer and of the relation scorer.
      decoder_size: units of the decoder.
      word_dropout: a; in supervised training a word seen c times is replaced by <unk>
        with probability a / (a + c).
      external_dropout: probability that a replaced word loses its vector as well.
      decoder_trainable: whether updates change the decoder.
      elbo_with_relations: whether the relation scorer counts among `elbo_variables`.
      vocabulary: words, relations, vectors; None: `adapt` takes it from the data.
      vector_size: D of the vocabulary's vectors, when `vocabulary` comes without.
      seed: every random number of a run is a function of it.

    Example:

        >>> import tfnes
        >>> data = tfnes.datasets.DemoTreebank()
        >>> model = tfnes.models.Parser(tfnes.structures.DependencyTree())
        >>> model.adapt(data)
        >>> batch = next(iter(data.get_dataset("source_train", batch_size=2)))
        >>> model.encode(batch).shape.rank
        3

    References:
      Berliner et al. 2022, section 4.2.
    """

    supervised_loss_names = ("arc_loss", "relation_loss", "reconstruction_loss")
    """What `supervised_loss` returns beside `loss`, their sum."""

    def __init__(
        self,
        structure: Structure,
        *,
        embedding_size: int = 100,
        hidden_size: int = 125,
        num_layers: int = 2,
        scorer_size: int = 100,
        decoder_size: int = 100,
        word_dropout: float = 0.25,
        external_dropout: float = 0.5,
        decoder_trainable: bool = True,
        elbo_with_relations: bool = False,
        vocabulary=None,
        vector_size: int | None = None,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(structure, seed=seed, **kwargs)
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.scorer_size = scorer_size
        self.decoder_size = decoder_size
        self.word_dropout = word_dropout
        self.external_dropout = external_dropout
        self.elbo_with_relations = elbo_with_relations
        self._decoder_trainable = decoder_trainable
        self.vocabulary = None
        self.vector_size = vector_size
        if vocabulary is not None:
            self._create(vocabulary)

    # Set-up ----------------------------------------------------------------------

    def adapt(self, dataset) -> None:
        """Takes the vocabulary of `dataset` and creates the layers; once only."""
        if self.vocabulary is None:
            self._create(dataset.vocabulary)
        elif self.vocabulary.get_config() != dataset.vocabulary.get_config():
            raise ConfigurationError(
                "This parser has a vocabulary already, of "
                f"{len(self.vocabulary.words)} words; the data has another one, of "
                f"{len(dataset.vocabulary.words)} words. Build the data with the "
                "parser's vocabulary, or make a new parser."
            )

    def _create(self, vocabulary) -> None:
        self.vocabulary = vocabulary
        if vocabulary.vectors is not None:
            self.vector_size = int(vocabulary.vectors.shape[1])
        self.has_vectors = vocabulary.external_words is not None
        if self.has_vectors and self.vector_size is None:
            raise ConfigurationError(
                "The vocabulary has external words but no vectors. Give it vectors, or "
                "say how long they are by Parser.vector_size."
            )
        self.encoder = ParserEncoder(
            num_words=len(vocabulary.words),
            num_relations=len(vocabulary.relations),
            embedding_size=self.embedding_size,
            vector_size=self.vector_size if self.has_vectors else 0,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            scorer_size=self.scorer_size,
            name="encoder",
        )
        self._create_decoder()
        counts = np.asarray(vocabulary.counts, np.float32)
        self._drop_rates = self.word_dropout / np.maximum(
            counts + self.word_dropout, 1e-9
        )
        self._universal = universal_relations(vocabulary.relations)
        self.built = True

    def _create_decoder(self) -> None:
        """The decoder reads the frozen vectors, or an embedding of its own."""
        words = self.vocabulary.external_words or self.vocabulary.words
        size = self.vector_size if self.has_vectors else self.embedding_size
        self.decoder = TreeDecoder(
            self.decoder_size, vocabulary_size=len(words), name="decoder"
        )
        self.decoder.build((None, size))
        self.decoder_table = self.add_weight(
            name="external_vectors" if self.has_vectors else "decoder_embedding",
            shape=(len(words), size),
            initializer=DimensionUniform(),
            trainable=not self.has_vectors,
        )
        if self.vocabulary.vectors is not None:
            self.decoder_table.assign(self.vocabulary.vectors)
        self.decoder_trainable = self._decoder_trainable

    @property
    def decoder_trainable(self) -> bool:
        """Whether updates change the decoder; may be set before `compile`."""
        return self._decoder_trainable

    @decoder_trainable.setter
    def decoder_trainable(self, value: bool) -> None:
        self._decoder_trainable = bool(value)
        self.decoder.trainable = bool(value)
        if not self.has_vectors:
            self.decoder_table.trainable = bool(value)

    @property
    def elbo_variables(self) -> list[keras.Variable]:
        if self.elbo_with_relations:
            return self.trainable_variables
        labels = {id(v) for v in self.encoder.relation_scorer.variables}
        return [v for v in self.trainable_variables if id(v) not in labels]

    def touched_rows(self, batch: Batch) -> list[tuple[keras.Variable, Tensor]]:
        nodes = with_root(batch["words"])
        inside = tf.sequence_mask(node_counts(batch["lengths"]), tf.shape(nodes)[1])
        return [(self.encoder.embedding, tf.unique(tf.boolean_mask(nodes, inside))[0])]

    # Encoder and decoder -----------------------------------------------------------

    def encode(self, batch: Batch, *, training: bool = False) -> Tensor:
        del training
        inputs = sentence_inputs(batch)
        scores = self.encoder.scores(
            inputs, self._nodes(inputs), lengths=batch["lengths"]
        )
        return _set_parts_shape(scores, batch["words"])

    def _nodes(self, inputs: SentenceInputs) -> Tensor:
        vectors = tf.convert_to_tensor(self.decoder_table) if self.has_vectors else None
        return self.encoder(inputs, vectors)

    def log_likelihood(
        self, batch: Batch, latent: Tensor, *, training: bool = False
    ) -> Tensor:
        del training
        return self.decoder(self._decoder_states(batch), latent)

    def _decoder_states(self, batch: Batch) -> DecoderStates:
        return self.decoder.states(
            batch["external" if self.has_vectors else "words"],
            batch["lengths"],
            table=tf.convert_to_tensor(self.decoder_table),
        )

    # ELBO ------------------------------------------------------------------------

    def shared_terms(self, batch: Batch, *, seed: Seed) -> dict[str, Any]:
        shared = super().shared_terms(batch, seed=seed)
        index = example_index(batch)

        def noise(group: RowGroup) -> list[Tensor]:
            side = group.size + 1
            draws = self.structure.noise(
                tf.zeros([group.rows, side, side], self.compute_dtype),
                seed=shared["latent_seed"],
                index=group.take(index),
            )
            return [tf.reshape(draws, [-1]), tf.reshape(tf.size(draws), [1])]

        draws, sizes = map_row_groups(
            noise,
            batch["lengths"],
            max_length=tf.shape(batch["words"])[1],
            dtypes=[self.compute_dtype, tf.int32],
        )
        shared["noise"] = draws
        shared["noise_starts"] = tf.cumsum(sizes, exclusive=True)
        shared["inputs"] = sentence_inputs(batch)
        if not self.decoder_trainable:
            shared["decoder"] = self._decoder_states(batch)
        return shared

    def elbo(
        self,
        batch: Batch,
        *,
        seed: Seed | None = None,
        shared: dict[str, Any] | None = None,
        training: bool = False,
    ) -> ELBOTerms:
        """As the base class; scores, trees and features group by group of rows."""
        if shared is None:
            shared = self.shared_terms(batch, seed=seed)
        states = shared.get("decoder") or self._decoder_states(batch)
        nodes = self._nodes(shared["inputs"])
        scores = self.encoder.scores_by_group(shared["inputs"], nodes)
        batch_size, max_length = tf.unstack(tf.shape(batch["words"]))

        def step(group: RowGroup) -> list[Tensor]:
            log_potentials = scores(group)
            start = shared["noise_starts"][group.number]
            noise = shared["noise"][start : start + tf.size(log_potentials)]
            latent = self.structure.argmax(
                log_potentials + tf.reshape(noise, tf.shape(log_potentials)),
                lengths=group.take(batch["lengths"]),
            )
            return [
                pad_parts(log_potentials, max_length + 1),
                pad_parts(latent, max_length + 1),
                self.decoder.features(states, group, latent),
            ]

        log_potentials, latent, features = map_row_groups(
            step, batch["lengths"], max_length=max_length, dtypes=[nodes.dtype] * 3
        )
        log_potentials = _set_parts_shape(log_potentials[:batch_size], batch["words"])
        latent = _set_parts_shape(latent[:batch_size], batch["words"])
        return ELBOTerms(
            log_likelihood=self.decoder.mean_log_probability(states, features),
            kl=self.kl_divergence(log_potentials, latent, lengths=batch["lengths"]),
            latent=latent,
            log_potentials=log_potentials,
        )

    # Supervised training and prediction --------------------------------------------

    def supervised_loss(self, batch: Batch, *, seed: Seed) -> dict[str, Tensor]:
        """Returns cross-entropies of each sentence given its gold tree, `[B]` each.

        Each is a mean over the words of the sentence, 0 without words; `loss` is the
        sum of the others.

            arc_loss: -log softmax over heads 0 ... n of the arc scores
            relation_loss: -log softmax of the relation scores at the gold arcs
            reconstruction_loss: -log p(x | gold tree)

        Args:
          batch: with `heads` and `relations`.
          seed: `[2]` int32 key of the word dropout (encoder only).
        """
        dropped = drop_words(
            batch,
            rates=self._drop_rates,
            external_rate=self.external_dropout,
            seed=random.fold_in(seed, int(random.Stream.DROPOUT)),
        )
        inputs = sentence_inputs(dropped)
        nodes = self._nodes(inputs)
        scores = self.encoder.scores(inputs, nodes, lengths=batch["lengths"])
        words = tf.sequence_mask(batch["lengths"], tf.shape(batch["words"])[1])
        heads = tf.where(words, batch["heads"], 0)
        real = tf.pad(words, [[0, 0], [1, 0]], constant_values=True)
        # [B, modifier, head]: one distribution over heads for each word.
        by_modifier = tf.transpose(scores[:, :, 1:], [0, 2, 1])
        by_modifier = tf.where(real[:, None, :], by_modifier, scores.dtype.min)
        labels = self.encoder.relation_scores(inputs, nodes, heads=heads)
        losses = {
            "arc_loss": _mean_cross_entropy(heads, by_modifier, words),
            "relation_loss": _mean_cross_entropy(batch["relations"], labels, words),
            "reconstruction_loss": -self.log_likelihood(
                batch, gold_trees(batch, scores.dtype), training=True
            ),
        }
        return {"loss": tf.add_n(list(losses.values())), **losses}

    def predict_batch(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the highest-scoring tree of each sentence, without noise.

        Returns:
          `latent` `[B, L + 1, L + 1]`; `heads` `[B, L]` int32, 0 the root;
          `relations` `[B, L]` int32 at these heads, never 0 (`<unk>`); both 0 in
          padding. `universal_relations`, and `gold_universal_relations` where the
          batch has gold relations: the same without the subtype after `:`.
        """
        inputs = sentence_inputs(batch)
        nodes = self._nodes(inputs)
        scores = self.encoder.scores_by_group(inputs, nodes)
        batch_size, max_length = tf.unstack(tf.shape(batch["words"]))
        (latent,) = map_row_groups(
            lambda group: [
                pad_parts(
                    self.structure.argmax(
                        scores(group), lengths=group.take(batch["lengths"])
                    ),
                    max_length + 1,
                )
            ],
            batch["lengths"],
            max_length=max_length,
            dtypes=[nodes.dtype],
        )
        latent = _set_parts_shape(latent[:batch_size], batch["words"])
        # Exactly one arc enters a word, so the head's number is a sum.
        numbers = tf.cast(tf.range(max_length + 1), latent.dtype)
        heads = tf.cast(tf.einsum("bhm,h->bm", latent, numbers)[:, 1:], tf.int32)
        relations = self.encoder.relation_scores(inputs, nodes, heads=heads)[..., 1:]
        words = tf.sequence_mask(batch["lengths"], max_length)
        relations = tf.argmax(relations, axis=-1, output_type=tf.int32) + 1
        outputs = {
            "latent": latent,
            "heads": heads,
            "relations": tf.where(words, relations, 0),
        }
        outputs["universal_relations"] = tf.gather(
            self._universal, outputs["relations"]
        )
        if "relations" in batch:
            outputs["gold_universal_relations"] = tf.gather(
                self._universal, batch["relations"]
            )
        return outputs

    # Saving ------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        names = (
            "embedding_size",
            "hidden_size",
            "num_layers",
            "scorer_size",
            "decoder_size",
            "word_dropout",
            "external_dropout",
            "decoder_trainable",
            "elbo_with_relations",
            "vector_size",
        )
        vocabulary = self.vocabulary
        if vocabulary is not None:
            vocabulary = keras.saving.serialize_keras_object(vocabulary)
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in names},
            "vocabulary": vocabulary,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Parser:
        if config.get("vocabulary") is not None:
            config["vocabulary"] = keras.saving.deserialize_keras_object(
                config["vocabulary"]
            )
        return super().from_config(config)


def _set_parts_shape(parts: Tensor, words: Tensor) -> Tensor:
    """Gives `parts` the static shape that `words` `[B, L]` implies."""
    batch_size, length = words.shape
    side = None if length is None else length + 1
    return tf.ensure_shape(parts, [batch_size, side, side])


def _mean_cross_entropy(labels: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
    """Returns the mean cross-entropy over the masked words of each row, `[B]`."""
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.where(mask, labels, 0), logits=logits
    )
    weights = tf.cast(mask, losses.dtype)
    total = tf.reduce_sum(losses * weights, axis=1)
    return total / tf.maximum(tf.reduce_sum(weights, axis=1), 1.0)
