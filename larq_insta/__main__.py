"""`python -m larq_insta` is `larq-insta`."""

from larq_insta.cli import cli

if __name__ == "__main__":
    cli(prog_name="larq-insta")
