"""Measure images per second: python src/benchmark.py model=googlenet data=cifar10."""

import sys

from strided.cli import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
