"""Converts a checkpoint: `python convert.py --help`, the same as `larq-insta convert`."""

from larq_insta.cli import convert

if __name__ == "__main__":
    convert()
