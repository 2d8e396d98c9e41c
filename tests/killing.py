"""The end that no process can answer: SIGKILL to a whole session, as a runner's last resort."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ci_identity.sandbox.openbao import OpenBao

ROLE = "auth/jwt/role/shop-migrate-gitlab"
RECLAIM_POLICY = 'path "auth/token/revoke-accessor" { capabilities = ["update"] }'


def kill_session(leader: int) -> None:
    """Kill every process of the session of `leader`; `exec` gives its child a group of its own."""
    while pids := list(_members(leader)):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _members(session: int) -> Iterator[int]:
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, its_session = status.read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state not in "ZX":
                yield int(status.parent.name)


@contextmanager
def may_revoke(openbao: OpenBao, role_path: str = ROLE) -> Iterator[None]:
    """Give a role, by default that of the world's GitLab jobs, the right to end tokens by their
    accessor.
    """
    root = openbao.client()
    role = root.read(role_path)["data"]
    root.write_data("sys/policies/acl/reclaim", data={"policy": RECLAIM_POLICY})
    root.write_data(role_path, data=role | {"token_policies": [*role["token_policies"], "reclaim"]})
    try:
        yield
    finally:
        root.write_data(role_path, data=role)
