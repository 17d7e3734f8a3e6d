"""Write a bundle: python src/export.py checkpoint=<run folder> bundle=registry/digits."""

import sys

from strided.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
