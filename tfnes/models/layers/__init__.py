"""Layers that Keras lacks, and the tensor plumbing of sentences of unequal length.

* `initializers`: the uniform laws of the Kiperwasser-Goldberg parser.
* `packing`: sentences of unequal length without padding.
* `packed_lstm`: LSTM and bidirectional LSTM on packed sentences.
* `pair_scorer`: w . tanh(W_h v_h + W_m v_m + b) of (head, modifier) pairs.
* `row_groups`: a loop over groups of rows, each trimmed to its own length.
* `tree_decoder`: a language model that is told the tree of the words seen so far.
"""

from tfnes.models.layers.initializers import DimensionUniform, LSTMBias, StackedGlorot
from tfnes.models.layers.packed_lstm import PackedLSTM
from tfnes.models.layers.packing import PackedLayout, pack_lengths, with_padding_row
from tfnes.models.layers.pair_scorer import PairScorer
from tfnes.models.layers.row_groups import RowGroup, map_row_groups
from tfnes.models.layers.tree_decoder import DecoderStates, TreeDecoder

__all__ = [
    "DecoderStates",
    "DimensionUniform",
    "LSTMBias",
    "PackedLSTM",
    "PackedLayout",
    "PairScorer",
    "RowGroup",
    "StackedGlorot",
    "TreeDecoder",
    "map_row_groups",
    "pack_lengths",
    "with_padding_row",
]
