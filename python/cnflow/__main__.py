"""`python -m cnflow` is the command `cnf`."""

import sys

from ._cli import main

sys.exit(main())
