"""One step of a job, as GitHub's runner runs it: its node, files to speak to it, its folders."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FILES = ("GITHUB_STATE", "GITHUB_PATH", "GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A use of an action.

    Attributes:
        action: its folder.
        node: that runs it.
        folder: of the job, with its `RUNNER_TEMP`.
        environ: the variables of the job.
    """

    action: Path
    node: Path
    folder: Path
    environ: dict[str, str] = field(default_factory=dict, repr=False)

    def start(self, part: str, **variables: str) -> subprocess.Popen[str]:
        """Start `main` or `post`."""
        files = {name: self.folder / name for name in FILES}
        for file in files.values():
            file.touch()
        (self.folder / "temp").mkdir(exist_ok=True)
        job = {name: str(path) for name, path in files.items()}
        job |= {"RUNNER_TEMP": str(self.folder / "temp"), "RUNNER_TOOL_CACHE": "/nonexistent"}
        return subprocess.Popen(
            [str(self.node), str(self.action / f"{part}.js")],
            cwd=self.folder,
            env=job | self.environ | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, part: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `main` or `post` to its end."""
        step = self.start(part, **variables)
        stdout, stderr = step.communicate()
        return subprocess.CompletedProcess(step.args, step.returncode, stdout, stderr)

    @property
    def state(self) -> Mapping[str, str]:
        """What `post` will have as `STATE_*`, from what `main` has saved so far."""
        saved = re.findall(r"(?m)^(\w+)=(.*)$", self.read("GITHUB_STATE"))
        return {f"STATE_{name}": value for name, value in saved}

    def read(self, name: str) -> str:
        """Return what a file of the runner has."""
        return (self.folder / name).read_text()
