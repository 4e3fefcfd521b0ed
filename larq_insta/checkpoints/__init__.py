"""Keras's files, and weights that were published for PyTorch."""
