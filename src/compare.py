"""Compare networks or finished runs: python src/compare.py "models=[vgg16,resnet18]"."""

import sys

from strided.cli import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
