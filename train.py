"""Trains a model: `python train.py --help`, the same as `larq-insta train`."""

from larq_insta.cli.program import Script
from larq_insta.cli.train import train

if __name__ == "__main__":
    Script(train)()
