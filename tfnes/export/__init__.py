"""The update of a compiled model as files that run where TensorFlow is not installed.

* `step`: `export_step` writes them, `load_state` reads trained state back.
* `lowering`: a TensorFlow function as a module of XLA with named arguments.
"""

from tfnes.export.step import FORMAT, export_step, load_state

__all__ = ["FORMAT", "export_step", "load_state"]
