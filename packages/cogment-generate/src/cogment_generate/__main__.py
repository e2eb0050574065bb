"""``python -m cogment_generate``."""

import sys

from cogment_generate.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
