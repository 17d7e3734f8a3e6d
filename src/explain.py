"""Show what a network looks at: python src/explain.py checkpoint=<run folder> input=photos/."""

import sys

from strided.cli import main

if __name__ == "__main__":
    sys.exit(main(["explain", *sys.argv[1:]]))
