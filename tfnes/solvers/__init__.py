"""Pure functions on tensors: batched, graph-safe solvers, usable on their own.

* `batching`: leading axes, few shapes, compilation (`use_jit_compile`).
"""

from tfnes.solvers.batching import use_jit_compile

__all__ = ["use_jit_compile"]
