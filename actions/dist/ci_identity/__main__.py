"""`python -m ci_identity`."""

import sys

from ci_identity.cli import main

if __name__ == "__main__":
    sys.exit(main())
