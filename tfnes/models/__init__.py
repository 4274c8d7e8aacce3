"""Models: what is computed.

* `mlp`: the unstructured VAE of Appendix B, images with one categorical latent.
* `nes_model`: NES for any loss of any Keras model.
* `parser`: dependency trees of sentences.
* `parser_encoder`, `parser_inputs`, `parser_losses`, `parser_prediction`: its parts.
* `nri`: who interacts with whom, from trajectories.
* `nri_encoder`, `nri_decoder`: its parts.
* `layers`: what the models need and Keras lacks.
* `structured_vae`: the base class, the ELBO.
* `rows`: how a model tells whose rows its layers see.
* `dependencies`: which variables a part of a model depends on.
* `trainable`: `fit`, `evaluate`, `predict` and saving; `building`, `progress`, `rate`,
  `update` and `replication`: its parts.
"""

from tfnes.models.mlp import MLP
from tfnes.models.nes_model import NESModel
from tfnes.models.nri import NRI
from tfnes.models.parser import Parser
from tfnes.models.rows import example_rows
from tfnes.models.structured_vae import StructuredVAE

__all__ = ["MLP", "NRI", "NESModel", "Parser", "StructuredVAE", "example_rows"]
