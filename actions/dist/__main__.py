"""ci-identity from this folder alone: `python3 -IS FOLDER COMMAND`."""

import sys

from ci_identity.cli import main

if __name__ == "__main__":
    sys.exit(main())
