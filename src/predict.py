"""Classify images: python src/predict.py checkpoint=<run folder or .ckpt> input=photos/."""

import sys

from strided.cli import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
