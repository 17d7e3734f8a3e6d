"""Make a key of a service on its machine: python src/keys.py database=logs/serve/digits/state."""

import sys

from strided.cli import main

if __name__ == "__main__":
    sys.exit(main(["keys", *sys.argv[1:]]))
