"""Answer over HTTP: python src/serve.py bundle=registry/digits."""

import sys

from strided.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
