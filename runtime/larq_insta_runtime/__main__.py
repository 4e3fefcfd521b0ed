"""`python -m larq_insta_runtime`."""

from larq_insta_runtime.cli import cli

if __name__ == "__main__":
    cli(prog_name="larq-insta-run")
