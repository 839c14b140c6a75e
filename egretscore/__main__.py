"""``python -m egretscore`` is the command line."""

import sys

from egretscore.cli import main

sys.exit(main())
