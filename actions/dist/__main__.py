"""ci-identity from this folder alone: `python3 -IS FOLDER COMMAND`."""

from ci_identity.cli import whole_process

if __name__ == "__main__":
    whole_process()
