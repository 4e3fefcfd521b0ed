"""Rewrites Keras models, call by call, and the content of converted files."""
