"""ci-identity from this folder alone: `python3 -IS FOLDER/__main__.py COMMAND`.

Not `python3 -IS FOLDER`, which costs Python 6 ms, though that works as well.
"""

import sys

FOLDER = __file__.rpartition("/")[0]
sys.argv[0] = FOLDER
if FOLDER not in sys.path:
    sys.path.append(FOLDER)  # with -S nothing but Python's own is before it

try:
    from ci_identity.cli import whole_process

    if __name__ == "__main__":
        whole_process()
except KeyboardInterrupt:  # before the command could say what that means to it
    sys.exit(130)
