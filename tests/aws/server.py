"""The program behind `AwsWorld`: it says where it listens, and ends when its input does."""

import json
import re
import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

from moto.iam.models import iam_backends
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.sts.models import sts_backends
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from tests.aws import assuming, decisions
from tests.aws.account import SERVED, Account
from tests.aws.policies import ACCOUNT, allow
from tests.aws.simulator import Simulator

_CONTROL = "/_world/"
_ADMINISTRATOR = "administrator"
_ADMINISTRATOR_ARN = f"arn:aws:iam::{ACCOUNT}:user/{_ADMINISTRATOR}"


class Application:
    """moto, with a log of its calls, and verbs for the tests that AWS does not have."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        path: str = environ["PATH_INFO"]
        if not path.startswith(_CONTROL):
            return self._served(environ, start_response)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        value = json.loads(environ["wsgi.input"].read(length) or "null")
        answer = getattr(self, path.removeprefix(_CONTROL))(value)
        return Response(json.dumps(answer), mimetype="application/json")(environ, start_response)

    def _served(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        call: dict[str, Any] = {"service": "", "action": "", "principal": "", "parameters": {}}
        SERVED.set(call)
        started: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], *_: object) -> Callable[..., Any]:
            started[:] = [status, headers]
            return lambda _: None

        body = b"".join(self._moto(environ, start))
        status, headers = started
        code = re.search(rb"<Code>(.*?)</Code>", body) if status >= "4" else None
        call |= {"status": int(status.split()[0]), "error": code[1].decode() if code else ""}
        if call["principal"] != _ADMINISTRATOR_ARN:
            self._account.calls.append(call)
        start_response(status, headers)
        return [body]

    # ── verbs ────────────────────────────────────────────────────────────────────────────────

    def reset(self, _: object) -> dict[str, str]:
        """Empty the account, and make an administrator, whose keys these are."""
        moto_api_backend.reset()
        self._account.calls.clear()
        self._account.ahead, self._account.session_life = timedelta(), None
        iam = iam_backends[ACCOUNT]["aws"]
        iam.create_user("aws", _ADMINISTRATOR)
        iam.put_user_policy(_ADMINISTRATOR, "everything", json.dumps(allow("*")))
        key = iam.create_access_key(_ADMINISTRATOR)
        return {"access_key_id": key.access_key_id, "secret_access_key": key.secret_access_key}

    def calls(self, _: object) -> list[dict[str, Any]]:
        """Return what was served since the last reset."""
        return self._account.calls

    def issued(self, _: object) -> list[str]:
        """Return every secret of the sessions issued since the last reset."""
        sessions = sts_backends[ACCOUNT]["aws"].assumed_roles
        return [text for s in sessions for text in (s.secret_access_key, s.session_token)]

    def sessions(self, _: object) -> list[dict[str, str]]:
        """Return the sessions issued since the last reset: whose they are, and their keys."""
        return [
            {
                "name": s.session_name,
                "access_key_id": s.access_key_id,
                "secret_access_key": s.secret_access_key,
                "session_token": s.session_token,
            }
            for s in sts_backends[ACCOUNT]["aws"].assumed_roles
        ]

    def advance(self, seconds: float) -> None:
        """Put the account's clock ahead."""
        self._account.ahead += timedelta(seconds=seconds)

    def shorten(self, seconds: float) -> None:
        """Give new sessions this life."""
        self._account.session_life = seconds


def _main(folder: Path) -> None:
    with Simulator(folder) as simulator:
        account = Account(simulator=simulator)
        decisions.install(account)
        assuming.install(account)
        server = make_server(
            "127.0.0.1", 0, Application(account), threaded=True, request_handler=_Request
        )
        Thread(target=server.serve_forever, daemon=True).start()
        print(f"http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201  # to our starter
        sys.stdin.read()  # until whoever started us ends it, or ends


class _Request(MotoRequestHandler):
    def log_request(self, *_: object) -> None:
        """Stay silent: our own log has it."""


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
