"""``python -m bench.cli`` is ``ddpm-bench``."""

import sys

from bench.cli import main

if __name__ == "__main__":
    sys.exit(main())
