"""``python -m chainrule``: the command line."""

import sys

from chainrule.cli.main import main

sys.exit(main())
