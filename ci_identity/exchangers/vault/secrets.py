"""Reads the values that a grant names, each path once, and keeps the leases that come with them."""

import json
from collections.abc import Mapping
from functools import partial
from typing import cast

from ci_identity._http import Answer
from ci_identity.errors import ProviderUnavailableError, VaultPolicyError, VaultSecretError
from ci_identity.exchangers.interface import ExchangeRequest
from ci_identity.exchangers.vault.client import Refused, VaultClient, present, retried
from ci_identity.exchangers.vault.credential import VaultCredential
from ci_identity.exchangers.vault.rights import policy_text, prefix
from ci_identity.model import Delivered, Handle, SecretReference, VaultTarget
from ci_identity.secret import Secret


def read_secrets(
    credential: VaultCredential, target: VaultTarget, request: ExchangeRequest
) -> dict[str, Delivered]:
    """Return the variables of `target.secrets`, read with the step's token.

    Raises:
        VaultPolicyError: the step's token may not read a path.
        VaultSecretError: a path or a field is not there.
    """
    data: dict[str, Answer] = {}
    for path in dict.fromkeys(reference.path for reference in target.secrets.values()):
        data[path] = _read(present(credential.step), path, target, request)
        if lease := data[path].get("lease_id"):
            credential.leases.append(str(lease))
            expires_at = credential.expires_at  # a lease ends with the token that it was read with
            request.record(Handle(kind="lease", value=str(lease), expires_at=expires_at))
    return {
        name: Delivered(
            value=_value(name, reference, _fields(data[reference.path], reference.path)),
            is_public=reference.is_public,
        )
        for name, reference in target.secrets.items()
    }


def _read(client: VaultClient, path: str, target: VaultTarget, request: ExchangeRequest) -> Answer:
    try:
        return retried(partial(client.read, path), request)
    except ProviderUnavailableError as error:
        cause = f"{error.cause}; or what is behind this path, a database say, is down"
        message = f"reading {path}: {error}"
        raise type(error)(message, cause=cause) from None
    except Refused as refused:
        if not refused.is_permission_denied:
            message = f"reading {path} was refused by the secrets engine that is mounted there"
            raise VaultSecretError(message) from None
        who = f"the policies {', '.join(target.policies)}" if target.policies else "the role"
        message = f"the step's token may not read {path}"
        hint = f"let {who} have:\n{policy_text(prefix(target) + path, 'read')}"
        raise VaultPolicyError(message, hint=hint) from None


def _fields(answer: Answer, path: str) -> Mapping[str, object]:
    """Return what is stored at `path`; KV version 2 has it one level deeper, beside metadata."""
    data = answer.get("data")
    if isinstance(data, dict) and set(cast("dict[str, object]", data)) == {"data", "metadata"}:
        has_version = answer.get("data", "metadata", "created_time") is not None
        data = answer.get("data", "data") if has_version else cast("dict[str, object]", data)
    if not isinstance(data, dict):
        message = f"there is nothing at {path}"
        raise VaultSecretError(message)
    return cast("dict[str, object]", data)


def _value(name: str, reference: SecretReference, fields: Mapping[str, object]) -> Secret:
    value = fields.get(reference.field)
    if value is None:
        message = f"{name}: {reference.path} has no field {reference.field}"
        raise VaultSecretError(message)
    return Secret(value if isinstance(value, str) else json.dumps(value, separators=(",", ":")))
