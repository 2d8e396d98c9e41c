"""IAM's decisions, made by npm's iam-simulate in a process of its own."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Self

Policy = Mapping[str, Any]

_PROGRAM = (Path(__file__).parent / "simulator.mjs").read_text()


class Simulator:
    """A running simulator; leaving the `with` block ends it, and so does our own end."""

    def __init__(self, folder: Path) -> None:
        """Start it.

        Args:
            folder: has iam-simulate in its `node_modules`.
        """
        self._lock = Lock()
        self._process = subprocess.Popen(
            ["node", "--input-type=module", "--eval", _PROGRAM],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the end of its input is its end

    def refusal(
        self,
        request: Mapping[str, Any],
        *,
        identity: Sequence[Policy] = (),
        session: Policy | None = None,
        resource: Policy | None = None,
    ) -> str | None:
        """Return why IAM refuses the request, or `None` if it does not.

        Args:
            request: `principal`, `action`, `resource` (an ARN), `account` and `context`.
            identity: the policies of whoever asks.
            session: what the session was narrowed to.
            resource: the policy of what is asked for; the trust policy of a role.
        """
        simulation: dict[str, Any] = {
            "request": {
                "principal": request["principal"],
                "action": request["action"],
                "resource": {"resource": request["resource"], "accountId": request["account"]},
                "contextVariables": request["context"],
            },
            "identityPolicies": [
                {"name": str(number), "policy": policy} for number, policy in enumerate(identity)
            ],
        }
        if session is not None:
            simulation["sessionPolicy"] = session
        if resource is not None:
            simulation["resourcePolicy"] = resource
        answer = self._ask({"simulation": simulation})
        if answer.get("errors"):
            message = f"iam-simulate does not understand {request}: {answer['errors']}"
            raise RuntimeError(message)
        result: str = answer["result"]
        return None if result == "Allowed" else result

    def is_policy(self, document: Policy) -> bool:
        """True if IAM would take this as an identity policy, or as a session's."""
        return not self._ask({"policy": document})["errors"]

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        with self._lock:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer
