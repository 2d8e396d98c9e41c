"""Terraform as a client of AWS, by its built-in S3 backend: the AWS provider is a download."""

import shutil
from pathlib import Path

import pytest

from tests.aws.world import REGION

_PROJECT = """\
terraform {{
  backend "s3" {{
    bucket         = "{bucket}"
    key            = "terraform.tfstate"
    region         = "{region}"
    use_path_style = true
  }}
}}

resource "terraform_data" "page" {{
  input = "hello"
}}
"""


def terraform_project(folder: Path, *, bucket: str) -> list[str]:
    """Write a project that keeps its state in a bucket, and return the command to use it with.

    `init` and `apply` sign in with the AWS SDK for Go, through the code that the AWS provider has
    for it too. Skips where Terraform is not installed.
    """
    program = shutil.which("terraform")
    if program is None:
        pytest.skip("terraform is not installed")
    (folder / "main.tf").write_text(_PROJECT.format(bucket=bucket, region=REGION))
    return [program, f"-chdir={folder}"]
