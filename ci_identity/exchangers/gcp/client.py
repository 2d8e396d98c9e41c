"""Three unsigned calls to Google, and what their answers say. No SDK: each is one request.

Sources: https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token,
https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from ci_identity._answer import Answer
from ci_identity._http import HttpSession
from ci_identity.errors import ProviderAnswerError
from ci_identity.model import GcpToken
from ci_identity.secret import Secret

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"  # RFC 8693, section 2.1
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  # RFC 8693, section 3
JWT = "urn:ietf:params:oauth:token-type:jwt"
SCOPES = "https://www.googleapis.com/auth/"
IAM_SCOPE = f"{SCOPES}iam"
"""All that a federated token needs that only impersonates."""

_TOKEN = re.compile(r"[!-~]{16,65536}")
_TIME = re.compile(r"[0-9T:.-]{19,32}Z")
_ACCOUNT = "projects/-/serviceAccounts/"


class Refused(Exception):  # noqa: N818  # a refusal is an answer here; the caller gives it meaning
    """Google said no.

    Attributes:
        code: its error code; empty if it is not one that may be shown.
        text: its message: to be looked at, never passed on.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__("Google refused")
        self.code = code if re.fullmatch("[A-Za-z_]{1,64}", code) else ""
        self.text = text


class Client:
    """Asks Google for tokens.

    Args:
        universe: the domain of its addresses; also an attribute.
        open_http: returns a session for the host of an address; it is closed by whoever made it.
        reason: what audit logs keep beside a request (`X-Goog-Request-Reason`).
        now: returns the time (UTC).

    Every call raises:
        Refused: Google answered with an error.
        ProviderUnavailableError: it did not answer, or not as Google does.
    """

    def __init__(
        self,
        universe: str,
        open_http: Callable[[str], HttpSession],
        reason: str,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self.universe = universe
        self._sts = f"https://sts.{universe}/v1/token"
        self._iam = f"https://iamcredentials.{universe}/v1"
        self._open_http = open_http
        self._headers = {"User-Agent": "ci-identity", "X-Goog-Request-Reason": reason}
        self._now = now

    def federate(self, provider: str, subject_token: Secret, scopes: Sequence[str]) -> GcpToken:
        """Swap the job's token for a federated one, which ends with it.

        The audience names `iam.googleapis.com` in every universe.
        """
        form = {
            "audience": f"//iam.googleapis.com/{provider}",
            "scope": " ".join(scopes),
            "subject_token": subject_token.reveal(),
            "subject_token_type": JWT,
        }
        return self._exchange(form, until=self._now() + timedelta(hours=1))

    def narrow(self, token: GcpToken, boundary: Sequence[Mapping[str, str]]) -> GcpToken:
        """Swap a token for one that can do no more than `boundary` says, and ends with it.

        Source: https://cloud.google.com/iam/docs/downscoping-short-lived-credentials.
        """
        rules = {"accessBoundary": {"accessBoundaryRules": [_rule(rule) for rule in boundary]}}
        form = {
            "options": quote(json.dumps(rules)),  # encoded twice, as google-auth does
            "subject_token": token.access_token.reveal(),
            "subject_token_type": ACCESS_TOKEN,
        }
        return self._exchange(form, until=token.expires_at)

    def impersonate(
        self,
        token: GcpToken,
        account: str,
        *,
        delegates: Sequence[str],
        scopes: Sequence[str],
        lifetime: timedelta,
    ) -> GcpToken:
        """Have a token of a service account made, which lives for `lifetime`."""
        url = f"{self._iam}/{_ACCOUNT}{account}:generateAccessToken"
        body = {
            "scope": list(scopes),
            "lifetime": f"{lifetime.total_seconds():.0f}s",
            "delegates": [f"{_ACCOUNT}{delegate}" for delegate in delegates],
        }
        headers = {"Authorization": f"Bearer {token.access_token.reveal()}"}
        answer = self._post(url, headers, json_body=body)
        expires_at = _time(answer.text("expireTime"), urlsplit(url).netloc)
        return _token(answer.text("accessToken"), expires_at, urlsplit(url).netloc)

    def _exchange(self, form: Mapping[str, str], *, until: datetime) -> GcpToken:
        """Ask the token endpoint; what it gives ends at `until` if it does not say when."""
        fixed = {"grant_type": GRANT_TYPE, "requested_token_type": ACCESS_TOKEN}
        asked_at, host = self._now(), urlsplit(self._sts).netloc
        answer = self._post(self._sts, {}, form={**fixed, **form})
        if answer.get("expires_in") is not None:
            until = min(until, asked_at + timedelta(seconds=answer.integer("expires_in")))
        return _token(answer.text("access_token"), until, host)

    def _post(self, url: str, headers: Mapping[str, str], **body: Any) -> Answer:
        host = urlsplit(url).netloc
        response = self._open_http(url).post(url, headers={**self._headers, **headers}, **body)
        answer = response.json()
        if not answer.is_object:
            message = f"{host} does not answer as Google does (status {response.status})"
            raise ProviderAnswerError(message)
        if response.is_ok:
            return answer
        if isinstance(answer.get("error"), str):  # RFC 6749, section 5.2
            raise Refused(answer.text("error"), str(answer.get("error_description")))
        raise Refused(answer.text("error", "status"), str(answer.get("error", "message")))


def full_scopes(scopes: Sequence[str]) -> list[str]:
    """Return scopes as Google has them, whether or not they were written in full."""
    return [scope if "://" in scope else SCOPES + scope for scope in scopes]


def _rule(rule: Mapping[str, str]) -> Mapping[str, object]:
    found: dict[str, object] = {
        "availableResource": rule["resource"],
        "availablePermissions": [f"inRole:{rule['role']}"],
    }
    if condition := rule.get("condition"):
        found["availabilityCondition"] = {"expression": condition}
    return found


def _token(text: str, expires_at: datetime, host: str) -> GcpToken:
    if not _TOKEN.fullmatch(text):
        message = f"{host}: the answer has an access token that is none"
        raise ProviderAnswerError(message)
    return GcpToken(access_token=Secret(text), expires_at=expires_at)


def _time(text: str, host: str) -> datetime:
    try:
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    message = f"{host}: the answer has an expireTime that is none"
    raise ProviderAnswerError(message)
