"""`python -m ci_identity`."""

from ci_identity.cli import whole_process

if __name__ == "__main__":
    whole_process()
