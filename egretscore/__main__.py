"""``python -m egretscore`` is the command line."""

import sys

from egretscore.cli import main

if __name__ == "__main__":
    sys.exit(main())
