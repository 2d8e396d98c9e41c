"""What lets an earlier step run its code inside a later one."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from ci_identity.doctor.finding import Finding, Kind

_HOOKS = {
    "BASH_ENV": (".+", "bash runs the file it names before every script"),
    "ENV": (r"[/~$].*", "sh runs the file it names when it is interactive"),
    "PROMPT_COMMAND": (".+", "bash runs it before every prompt"),
    "BASH_FUNC_*": (".+", "bash takes it for the command of that name"),
    "LD_PRELOAD": (".+", "every program loads the library it names"),
    "LD_AUDIT": (".+", "every program loads the library it names"),
    "DYLD_INSERT_LIBRARIES": (".+", "every program loads the library it names"),
    "SSLKEYLOGFILE": (
        ".+",
        "programs write the keys of their TLS connections to the file it names",
    ),
    "OPENSSL_CONF": (".+", "every program that uses OpenSSL loads the modules it names"),
    "PYTHONPATH": (".+", "every Python takes modules from there"),
    "PYTHONSTARTUP": (".+", "Python runs the file it names when it is interactive"),
    "PYTHONHOME": (".+", "Python takes its library from there"),
    "NODE_OPTIONS": (
        r".*(?:-r\b|--require|--import|loader).*",
        "Node.js loads the module it names",
    ),
    "AWS_PAGER": (r".*[^\w.-].*", "aws (version 2) runs it to show its output"),
    "AWS_DATA_PATH": (".+", "botocore takes its models of AWS's services from there"),
    "GIT_SSH_COMMAND": (".+", "git runs it for each connection"),
    "PERL5OPT": (".+", "Perl loads the module it names"),
    "RUBYOPT": (".*-r.*", "Ruby loads the library it names"),
    "JAVA_TOOL_OPTIONS": (".*agent.*", "every JVM loads the agent it names"),
    "JDK_JAVA_OPTIONS": (".*agent.*", "every JVM loads the agent it names"),
    "_JAVA_OPTIONS": (".*agent.*", "every JVM loads the agent it names"),
}
"""Name, the values that count, and what they do. `exec` leaves them: steps may rely on them."""

OTHERS_WRITE = "other users can put commands there"
"""Said of an entry of PATH. True of the tool caches of hosted runners, where it is not news."""

_SYSTEM_FOLDERS = frozenset({"/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"})
_STEP_FOLDERS = ("RUNNER_TEMP", "GITHUB_WORKSPACE", "CI_PROJECT_DIR", "TMPDIR")


def find_code_injection(environ: Mapping[str, str], cwd: Path) -> Iterator[Finding]:
    """Yield what lets an earlier step run its code inside a later one, as far as variables tell.

    Args:
        environ: the job's variables.
        cwd: the job's working directory.
    """
    for name, value in sorted(environ.items()):
        hook = _HOOKS.get("BASH_FUNC_*" if name.startswith("BASH_FUNC_") else name)
        if hook is not None and re.fullmatch(hook[0], value, re.DOTALL):
            yield Finding(kind=Kind.CODE_INJECTION, place=name, detail=hook[1])
    named = (Path(environ[name]) for name in _STEP_FOLDERS if environ.get(name))
    steps = [cwd, Path("/tmp"), *named]  # noqa: S108  # nothing is made there: it is watched
    is_first = True
    for entry in dict.fromkeys(environ.get("PATH", os.defpath).split(os.pathsep)):
        is_first = is_first and entry not in _SYSTEM_FOLDERS
        if (detail := _path_risk(entry, steps if is_first else [])) is not None:
            yield Finding(
                kind=Kind.CODE_INJECTION, place=f"PATH {entry or '(empty)'}", detail=detail
            )


def _path_risk(entry: str, steps: list[Path]) -> str | None:
    """Say who else can put a command into this entry of PATH, if anybody can."""
    folder = Path(entry)
    if not folder.is_absolute():
        return "commands are looked for in whatever folder the step is in"
    if any(folder.is_relative_to(step) for step in steps if step != Path("/")):
        return "a folder that steps write to goes before the system's"
    try:
        found = folder.stat()
    except (OSError, ValueError):
        return None
    if found.st_mode & stat.S_IWOTH or found.st_uid not in {0, os.getuid()}:
        return OTHERS_WRITE
    return None
