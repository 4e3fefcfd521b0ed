"""Converts a checkpoint: `python convert.py --help`, the same as `larq-insta convert`."""

from larq_insta.cli.convert import convert
from larq_insta.cli.program import Script

if __name__ == "__main__":
    Script(convert)()
