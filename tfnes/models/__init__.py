"""Models: what is computed.

* `structured_vae`: the base class, with `fit`, `evaluate`, `predict` and saving.
"""

from tfnes.models.structured_vae import StructuredVAE

__all__ = ["StructuredVAE"]
