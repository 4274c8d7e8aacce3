"""Models: what is computed.

* `parser`: dependency trees of sentences.
* `parser_encoder`, `parser_inputs`: its parts.
* `layers`: what the models need and Keras lacks.
* `structured_vae`: the base class, with `fit`, `evaluate`, `predict` and saving.
"""

from tfnes.models.parser import Parser
from tfnes.models.structured_vae import StructuredVAE

__all__ = ["Parser", "StructuredVAE"]
