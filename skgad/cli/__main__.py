"""``python -m skgad.cli`` is the command ``skgad``."""

import sys

from ._entry import main

sys.exit(main())
