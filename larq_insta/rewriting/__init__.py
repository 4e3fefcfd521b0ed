"""Rewrites the content of converted files: how float layers are stored and computed."""
