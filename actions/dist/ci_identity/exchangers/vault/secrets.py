"""Asks for the values that a grant names, each once, and keeps what ends them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import cast

from ci_identity._answer import Answer
from ci_identity._text import lasting
from ci_identity.errors import (
    ProviderUnavailableError,
    TokenLifeError,
    UnansweredError,
    VaultPolicyError,
    VaultSecretError,
)
from ci_identity.exchangers.interface import ExchangeRequest
from ci_identity.exchangers.vault.client import Refused, VaultClient, present, retried
from ci_identity.exchangers.vault.credential import VaultCredential
from ci_identity.exchangers.vault.engines import is_version_2, issued, issued_by
from ci_identity.exchangers.vault.issued import Issued, revocation_paths
from ci_identity.exchangers.vault.rights import policy_text, prefix, right
from ci_identity.model import Delivered, Handle, SecretReference, VaultTarget
from ci_identity.secret import Secret

MOUNTS = "sys/internal/ui/mounts"

_CLOCKS_DIFFER = timedelta(minutes=1)
"""How far the server's clock may be from ours, and how long its answer may be on the way."""

_PEM = "-----BEGIN CERTIFICATE-----"

Question = tuple[str, tuple[tuple[str, str], ...] | None, timedelta | None]
"""What makes two references one request: the path, what is written to it, and for how long."""


def read_secrets(
    credential: VaultCredential, target: VaultTarget, request: ExchangeRequest
) -> dict[str, Delivered]:
    """Return the variables of `target.secrets`, asked for with the step's token.

    Raises:
        VaultPolicyError: the step's token may not ask for it.
        VaultSecretError: a path or a field is not there, or its engine refuses.
        TokenLifeError: what is issued lives longer than the grant's ttl, and cannot be revoked.
    """
    answers: dict[Question, Answer] = {}
    for reference in target.secrets.values():
        if _question(reference) not in answers:
            answers[_question(reference)] = _ask(credential, reference, target, request)
    return {
        name: Delivered(
            value=_value(name, reference, _fields(answers[_question(reference)], reference)),
            is_public=reference.is_public,
        )
        for name, reference in target.secrets.items()
    }


def engine(client: VaultClient, path: str, request: ExchangeRequest) -> object:
    """Return the kind of the engine that is mounted at `path`, or `None` if that is not told."""
    try:
        ask = partial(client.read, f"{MOUNTS}/{path}")
        return retried(ask, request).get("data", "type")
    except Refused:
        return None


def _question(reference: SecretReference) -> Question:
    given = reference.parameters
    written = None if given is None else tuple(sorted(given.items()))
    return reference.path, written, reference.ttl


def _ask(
    credential: VaultCredential,
    reference: SecretReference,
    target: VaultTarget,
    request: ExchangeRequest,
) -> Answer:
    path, is_written = reference.path, reference.parameters is not None
    asked_at = datetime.now(UTC)
    answer = _answer(present(credential.step), reference, target, request)
    one = issued(path, answer, asked_at, is_written=is_written)
    if one is None:
        one = issued_by(path, engine(present(credential.login_in_namespace), path, request))
    token_ends_at = credential.expires_at
    credential.add(one)
    _record(one, token_ends_at, credential.may_update, request)
    _check_taken(answer, reference)
    _check_life(one, asked_at=asked_at, ttl=_ttl(reference, request), is_written=is_written)
    return answer


def _ttl(reference: SecretReference, request: ExchangeRequest) -> timedelta:
    return min(reference.ttl or request.ttl, request.ttl)


def _answer(
    client: VaultClient, reference: SecretReference, target: VaultTarget, request: ExchangeRequest
) -> Answer:
    path = reference.path
    verb, may = ("reading", "read")
    if reference.parameters is not None:
        verb, may = ("writing to", "write to")
    try:
        return retried(partial(_send, client, reference, request), request)
    except ProviderUnavailableError as error:
        cause = f"{error.cause}; or what is behind this path, a database say, is down"
        message = f"{verb} {path}: {error}"
        raise type(error)(message, cause=cause) from None
    except Refused as refused:
        if not refused.is_permission_denied:
            from ci_identity.exchangers.vault.errors import engine_refusal  # noqa: PLC0415  # seldom

            is_written = reference.parameters is not None
            raise engine_refusal(path, refused.errors, is_written=is_written) from None
        who = f"the policies {', '.join(target.policies)}" if target.policies else "the role"
        message = f"the step's token may not {may} {path}"
        hint = f"let {who} have:\n{policy_text(prefix(target) + path, right(reference))}"
        raise VaultPolicyError(message, hint=hint) from None


def _send(client: VaultClient, reference: SecretReference, request: ExchangeRequest) -> Answer:
    if reference.parameters is None:
        return client.read(reference.path)
    ttl = _ttl(reference, request)
    body = {**reference.parameters, "ttl": f"{ttl.total_seconds():.0f}s"}
    try:
        return client.post(reference.path, body)
    except UnansweredError:
        request.warn(
            f"{reference.path} was written to, and not answered: if the server took it, there is"
            f" something that nobody has, until its ttl of {lasting(ttl)}"
        )
        raise


def _record(
    one: Issued, token_ends_at: datetime, may: frozenset[str], request: ExchangeRequest
) -> None:
    """Record what a reaper needs, also of what nobody can end: else it would be called ended."""
    if one.lease:  # it ends with the token that it was asked for with
        request.record(Handle(kind="lease", value=one.lease, expires_at=token_ends_at))
    if one.certificate and not one.lease:
        # Who shows the private key may revoke it, too; but a reaper has none.
        kind = "certificate" if revocation_paths(one.certificate.mount)[1] in may else "expiring"
        name = one.certificate.handle
        request.record(Handle(kind=kind, value=name, expires_at=one.ends_at))
    if one.remains:
        request.record(Handle(kind="expiring", value=one.handle, expires_at=one.ends_at))


def _check_taken(answer: Answer, reference: SecretReference) -> None:
    """Raise if the server passed over what `with` gives: it issues all the same, and says so.

    As framework/backend.go writes it: `Endpoint ignored these unrecognized parameters: [a b]`, and
    `... these parameters with the values captured from the endpoint's path: [c]`.
    """
    given = (reference.parameters or {}).keys()
    warnings = answer.get("warnings")
    for warning in cast("list[object]", warnings) if isinstance(warnings, list) else ():
        said, _, names = str(warning).rpartition("[")
        ignored = sorted(given & names.rstrip("]").split())
        if ignored and "parameters" in said:
            message = f"writing to {reference.path}: the server ignored {', '.join(ignored)}"
            cause = "a parameter in `with` is misspelt, or is none that this path takes"
            hint = f"`bao path-help {reference.path}` lists what it takes"
            raise VaultSecretError(message, cause=cause, hint=hint)


def _check_life(one: Issued, *, asked_at: datetime, ttl: timedelta, is_written: bool) -> None:
    what = one.remains or ("a certificate" if one.certificate else "")
    if not what:
        return
    if one.ends_at is None:
        message = f"{one.path}: the server does not say until when {what} lives"
        cause = "it has no lease either, so that nobody could say when it ends"
        hint = "leave it out of the grant"
        raise TokenLifeError(message, cause=cause, hint=hint)
    if one.ends_at <= asked_at + ttl + _CLOCKS_DIFFER:
        return
    life = lasting(one.ends_at - asked_at)
    message = f"{one.path}: {what} would live for {life}, and {lasting(ttl)} were asked for"
    more = "" if is_written else "; `with: {}` asks for the grant's ttl, where the engine takes one"
    raise TokenLifeError(
        message,
        cause="nothing that is revoked ends it, and the engine or its role gives it a longer life",
        hint=f"shorten it in the engine's role, or raise `ttl` to that{more}",
    )


def _fields(answer: Answer, reference: SecretReference) -> Mapping[str, object]:
    data = answer.get("data", "data") if is_version_2(answer) else answer.get("data")
    if not isinstance(data, dict):
        if reference.parameters is None:
            message = f"there is nothing at {reference.path}"
            raise VaultSecretError(message)
        message = f"writing to {reference.path} gave nothing"
        cause = "the engine that is mounted there issues nothing at this path"
        raise VaultSecretError(message, cause=cause, hint="leave `with` out where it is to be read")
    return cast("dict[str, object]", data)


def _value(name: str, reference: SecretReference, fields: Mapping[str, object]) -> Secret:
    value = fields.get(reference.field)
    if value is None:
        message = f"{name}: {reference.path} has no field {reference.field}"
        if reference.parameters is None:
            raise VaultSecretError(message)
        hint = f"what follows the `#` is a field of what `bao write {reference.path} ...` prints"
        raise VaultSecretError(message, cause="the field is misspelt", hint=hint)
    return Secret(_text(value))


def _text(value: object) -> str:
    """Return `value` as text: what is none as JSON, but a chain of certificates as a PEM file."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        parts = cast("list[object]", value)
        if parts and all(isinstance(part, str) and part.startswith(_PEM) for part in parts):
            return "\n".join(str(part).strip() for part in parts) + "\n"
    return json.dumps(value, separators=(",", ":"))
