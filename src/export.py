"""Write a bundle for a service: python src/export.py checkpoint=best.ckpt bundle=registry/x."""

import sys

from strided.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
