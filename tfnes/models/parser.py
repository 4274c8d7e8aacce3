"""A parser whose latent is the dependency tree of a sentence (section 4.2)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfnes import random
from tfnes.checks import (
    check_flag,
    check_instance,
    check_integer,
    check_optional,
    check_real,
)
from tfnes.errors import ConfigurationError
from tfnes.models.layers import (
    DecoderStates,
    DimensionUniform,
    RowGroup,
    TreeDecoder,
    map_row_groups,
)
from tfnes.models.parser_encoder import ParserEncoder
from tfnes.models.parser_inputs import (
    GroupParts,
    SentenceInputs,
    drop_rates,
    gold_trees,
    sentence_inputs,
    training_inputs,
    universal_relations,
    used_words,
)
from tfnes.models.parser_losses import arc_loss, real_heads, relation_loss
from tfnes.models.parser_prediction import predict_trees
from tfnes.models.structured_vae import StructuredVAE
from tfnes.registration import register
from tfnes.solvers import batching
from tfnes.structures.structure import Structure
from tfnes.typing import Batch, ELBOTerms, Seed, Tensor


@register("model")
class Parser(StructuredVAE):
    """A graph-based dependency parser as encoder, a tree-informed language model.

    Encoder (Kiperwasser & Goldberg 2016): v = BiLSTM(<root>, x_1, ..., x_n) over
    trained word embeddings beside frozen external vectors; the log-potential of the arc
    from head h to modifier m is w . tanh(W_h v_h + W_m v_m + b). Decoder (Corro &
    Titov 2019): p(x | T) word by word, each given the words before it and the arcs of T
    among them; see `tfnes.models.layers.TreeDecoder`. It predicts words of the external
    vocabulary, or, without external vectors, of the trained vocabulary, which then has
    an embedding of the decoder's own.

    A batch has `words`, `lengths`, and with vectors `external`; `heads` and `relations`
    for supervised training, where `unknown` says what stands for a dropped word;
    `index`, which keys the latent noise. Rows in order of
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
      word_dropout: a; in supervised training a word seen c times is replaced by an
        unknown one with probability a / (a + c).
      external_dropout: probability that a replaced word loses its vector as well.
      dropout: probability that a feature of the words or of an LSTM layer's output is
        left out for a whole sentence, in supervised training; 0 as in the authors'
        code.
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
        dropout: float = 0.0,
        decoder_trainable: bool = True,
        elbo_with_relations: bool = False,
        vocabulary=None,
        vector_size: int | None = None,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(structure, seed=seed, **kwargs)
        size = functools.partial(check_integer, minimum=1)
        self.embedding_size = size("Parser.embedding_size", embedding_size)
        self.hidden_size = size("Parser.hidden_size", hidden_size)
        self.num_layers = size("Parser.num_layers", num_layers)
        self.scorer_size = size("Parser.scorer_size", scorer_size)
        self.decoder_size = size("Parser.decoder_size", decoder_size)
        self.word_dropout = check_real("Parser.word_dropout", word_dropout, minimum=0)
        share = functools.partial(check_real, minimum=0, maximum=1)
        self.external_dropout = share("Parser.external_dropout", external_dropout)
        self.dropout = check_real("Parser.dropout", dropout, minimum=0, below=1)
        self.elbo_with_relations = check_flag(
            "Parser.elbo_with_relations", elbo_with_relations
        )
        self.vector_size = check_optional("Parser.vector_size", vector_size, size)
        self._decoder_trainable = check_flag(
            "Parser.decoder_trainable", decoder_trainable
        )
        self.vocabulary: Any = None
        if vocabulary is not None:
            self._create(vocabulary)

    # Set-up ----------------------------------------------------------------------

    def adapt(self, dataset) -> None:
        """Takes the vocabulary of `dataset` and creates the layers; once only."""
        if self.vocabulary is None:
            self._create(dataset.vocabulary)
        elif self.vocabulary.get_config() != dataset.vocabulary.get_config():
            raise ConfigurationError(
                f"This parser has a vocabulary of {len(self.vocabulary.words)} words; "
                f"the data has another one, of {len(dataset.vocabulary.words)} words. "
                "Build the data with the parser's vocabulary, or make a new parser."
            )

    def _create(self, vocabulary) -> None:
        from tfnes.datasets.vocabulary import Vocabulary

        self.vocabulary = check_instance(
            "Parser.vocabulary",
            vocabulary,
            Vocabulary,
            expected="a tfnes.datasets.Vocabulary, such as a data set's `vocabulary`",
        )
        if vocabulary.vectors is not None:
            self.vector_size = int(vocabulary.vectors.shape[1])
        self.has_vectors = vocabulary.external_words is not None
        vector_size = self.vector_size if self.has_vectors else 0
        if vector_size is None:
            raise ConfigurationError(
                "The vocabulary has external words but no vectors. Give it vectors, or "
                "say how long they are by Parser.vector_size."
            )
        self.encoder = ParserEncoder(
            num_words=len(vocabulary.words),
            num_relations=len(vocabulary.relations),
            embedding_size=self.embedding_size,
            vector_size=vector_size,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            scorer_size=self.scorer_size,
            name="encoder",
        )
        self._create_decoder()
        self._drop_rates = drop_rates(vocabulary.counts, self.word_dropout)
        self.universal_relations = universal_relations(vocabulary.relations)
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
        self._apply_decoder_trainable()

    @property
    def decoder_trainable(self) -> bool:
        """Whether updates change the decoder; may be set before `compile`."""
        return self._decoder_trainable

    @decoder_trainable.setter
    def decoder_trainable(self, value: bool) -> None:
        self._decoder_trainable = bool(value)
        if self.vocabulary is not None:
            self._apply_decoder_trainable()

    def _apply_decoder_trainable(self) -> None:
        # Not by the property: TensorFlow leaves an assignment out that changes nothing.
        value = self._decoder_trainable
        self.decoder.trainable = value
        self.decoder_table.trainable = value and not self.has_vectors

    @property
    def elbo_variables(self) -> list[keras.Variable]:
        if self.elbo_with_relations:
            return self.trainable_variables
        labels = {id(v) for v in self.encoder.relation_scorer.variables}
        return [v for v in self.trainable_variables if id(v) not in labels]

    def touched_rows(self, batch: Batch) -> list[tuple[keras.Variable, Tensor]]:
        return [(self.encoder.embedding, used_words(batch))]

    # Encoder and decoder -----------------------------------------------------------

    def encode(self, batch: Batch, *, training: bool = False) -> Tensor:
        del training
        inputs = sentence_inputs(batch)
        nodes = self.nodes(inputs)
        return self.encoder.scores(inputs, nodes, lengths=batch["lengths"])

    def nodes(self, inputs: SentenceInputs, masks=None) -> Tensor:
        """Returns the packed nodes' vectors, `[P, 2 * hidden_size]`."""
        vectors = tf.convert_to_tensor(self.decoder_table) if self.has_vectors else None
        return self.encoder(inputs, vectors, masks)

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
        shared = self._terms_of_one(batch, seed=seed)
        if not self.decoder_trainable:
            shared["decoder"] = self.decoder.share(shared["decoder"])
        return shared

    def share_decoder(self, batch, *, shared):
        if not self.decoder_trainable:
            return shared
        states = self.decoder.share(self._decoder_states(batch))
        return {**shared, "decoder": states}

    def _terms_of_one(self, batch: Batch, *, seed: Seed) -> dict[str, Any]:
        """As `shared_terms`, without what only pays where several share it."""
        shared = super().shared_terms(batch, seed=seed)
        shared["noise"] = GroupParts.noise(
            self.structure,
            batch,
            seed=shared["latent_seed"],
            dtype=tf.as_dtype(self.compute_dtype),
        )
        shared["inputs"] = sentence_inputs(batch)
        if not self.decoder_trainable:
            shared["decoder"] = self._decoder_states(batch)
        return shared

    def share_noise(self, batch, terms, *, shared):
        return shared  # `shared_terms` drew it already, without the padding

    def elbo(self, batch, *, seed=None, shared=None, training=False) -> ELBOTerms:
        """As the base class; scores, trees and features group by group of rows."""
        if shared is None:
            shared = self._terms_of_one(batch, seed=seed)
        nodes = self.nodes(shared["inputs"])
        scores = self.encoder.scores_by_group(shared["inputs"], nodes)
        return self._elbo_of(scores, batch, shared, dtype=nodes.dtype)

    def elbo_at(self, batch, log_potentials, *, shared, training=False) -> ELBOTerms:
        def scores(group: RowGroup) -> Tensor:
            nodes = group.size + 1
            return group.take(log_potentials)[:, :nodes, :nodes]

        return self._elbo_of(scores, batch, shared, dtype=log_potentials.dtype)

    def _elbo_of(
        self,
        scores: Callable[[RowGroup], Tensor],
        batch: Batch,
        shared: dict[str, Any],
        *,
        dtype: tf.DType,
    ) -> ELBOTerms:
        states = shared.get("decoder") or self._decoder_states(batch)
        noise = shared["noise"]

        def step(group: RowGroup) -> list[Tensor]:
            log_potentials = scores(group)
            latent = self.structure.argmax(
                log_potentials + noise.of(group), lengths=group.take(batch["lengths"])
            )
            return [
                tf.reshape(log_potentials, [-1]),
                tf.reshape(latent, [-1]),
                *self.decoder.features(states, group, latent),
            ]

        flat = tf.TensorSpec([None], dtype)
        log_potentials, latent, *features = map_row_groups(
            step,
            batch["lengths"],
            max_length=batching.dimension(batch["words"], 1),
            outputs=[flat, flat, *self.decoder.features_spec(dtype)],
        )
        # Padded in loops of their own, which do not run where only the loss is used.
        log_potentials = GroupParts(log_potentials, noise.starts).padded(batch)
        latent = GroupParts(latent, noise.starts).padded(batch)
        return ELBOTerms(
            log_likelihood=self.decoder.mean_log_probability(states, *features),
            kl=tf.zeros(tf.shape(batch["lengths"]), dtype),
            latent=latent,
            log_potentials=log_potentials,
        )

    # Supervised training and prediction --------------------------------------------

    def supervised_loss(self, batch: Batch, *, seed: Seed) -> dict[str, Tensor]:
        """Returns cross-entropies of each sentence given its gold tree, `[B]` each.

        Means over the words: `arc_loss` and `relation_loss` (at the gold arcs) as in
        `parser_losses`, `reconstruction_loss` -log p(x | gold tree); `loss`, their sum.

        Args:
          batch: with `heads` and `relations`.
          seed: `[2]` int32 key of the word dropout (encoder only).
        """
        inputs, masks = training_inputs(
            batch,
            word_rates=self._drop_rates,
            external_rate=self.external_dropout,
            rate=self.dropout,
            sizes=self.encoder.feature_sizes,
            seed=random.fold_in(seed, int(random.Stream.DROPOUT)),
        )
        nodes = self.nodes(inputs, masks)
        scores = self.encoder.scores(inputs, nodes, lengths=batch["lengths"])
        labels = self.encoder.relation_scores(inputs, nodes, heads=real_heads(batch))
        trees = gold_trees(batch, scores.dtype)
        losses = {
            "arc_loss": arc_loss(scores, batch),
            "relation_loss": relation_loss(labels, batch),
            "reconstruction_loss": -self.log_likelihood(batch, trees),
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
        return predict_trees(self, batch)

    # Saving ------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        vocabulary = self.vocabulary
        if vocabulary is not None:
            vocabulary = keras.saving.serialize_keras_object(vocabulary)
        return {
            **super().get_config(),
            "embedding_size": self.embedding_size,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "scorer_size": self.scorer_size,
            "decoder_size": self.decoder_size,
            "word_dropout": self.word_dropout,
            "external_dropout": self.external_dropout,
            "dropout": self.dropout,
            "decoder_trainable": self.decoder_trainable,
            "elbo_with_relations": self.elbo_with_relations,
            "vector_size": self.vector_size,
            "vocabulary": vocabulary,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Parser:
        vocabulary = keras.saving.deserialize_keras_object(config["vocabulary"])
        return super().from_config({**config, "vocabulary": vocabulary})
