"""`python -m robustfl` and the `robustfl` command."""

import sys

from robustfl.cli import main

if __name__ == "__main__":
    sys.exit(main())
