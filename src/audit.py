"""Check the audit of a service: python src/audit.py database=logs/serve/digits/state."""

import sys

from strided.cli import main

if __name__ == "__main__":
    sys.exit(main(["audit", *sys.argv[1:]]))
