"""tfnes: discrete structured variational auto-encoders, learned with NES."""
__version__ = "0.1.0"
