"""Train a network: python src/train.py model=googlenet data=cifar10 trainer.max_epochs=50."""

import sys

from strided.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
