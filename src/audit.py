"""Check the audit of a service: python src/audit.py action=verify database=<state folder>."""

import sys

from strided.cli import main

if __name__ == "__main__":
    sys.exit(main(["audit", *sys.argv[1:]]))
