"""Measure a checkpoint: python src/eval.py checkpoint=logs/train/lenet5-digits/<date_time>."""

import sys

from strided.cli import main

if __name__ == "__main__":
    sys.exit(main(["eval", *sys.argv[1:]]))
