"""A cluster that decides as an API server does, and says no in its words.

It verifies what an API server verifies: the signature of a token by its issuer's keys, issuer,
audience and life, and of its own tokens also that account and bound Secret are there, by name and
uid; RBAC rule by rule; what a TokenRequest may ask for; preconditions. Bodies and codes are those
of Kubernetes' own `Status` objects (apimachinery's api/errors) and handlers
(pkg/registry/core/serviceaccount/storage/token.go, pkg/serviceaccount/claims.go). It remembers no
authentication; a real one does for 10 s.
"""

import json
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Never

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import rsa

from ci_identity.sandbox.issuer import JWKS_PATH

NAMESPACE, ACCOUNT, AUDIENCE = "shop", "deployer", "acme"
OWN_ISSUER = "https://kubernetes.default.svc.cluster.local"
USER_PREFIX = "ci:"
"""What the cluster puts before a job's `sub`, so that no job passes for another kind of user."""

ADMIN = "the-administrator"
"""A bearer that may do everything: for whoever verifies tokens, and for the tests."""

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
MIN_LIFE = 600
_TOKEN_PATH = re.compile(
    r"/api/v1/namespaces/(?P<namespace>[^/]+)/serviceaccounts/(?P<name>[^/]+)/token"
)
_OBJECT_PATH = re.compile(
    r"/api/v1/namespaces/(?P<namespace>[^/]+)/(?P<kind>secrets|configmaps)(?:/(?P<name>[^/]+))?"
)
_KINDS = {"secrets": "Secret", "configmaps": "ConfigMap"}
_VERBS = {"POST": "create", "GET": "get", "DELETE": "delete"}

Object = dict[str, Any]


class Refusal(Exception):  # noqa: N818  # an answer
    """What the API server answers instead."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(status)
        self.status, self.body = status, body


def refuse(status: int, reason: str, message: str, **details: Any) -> Never:
    """Refuse with a `Status`."""
    body: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    body |= {"message": message, "reason": reason, "code": status}
    raise Refusal(status, body | ({"details": details} if details else {}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a Role in the namespace: verbs on a resource, perhaps on some names only."""

    verbs: frozenset[str]
    resource: str
    names: frozenset[str] = frozenset()


NEEDED = (
    Rule(verbs=frozenset({"create", "delete"}), resource="secrets"),
    Rule(
        verbs=frozenset({"create"}),
        resource="serviceaccounts/token",
        names=frozenset({ACCOUNT}),
    ),
)
"""What a job needs: the Role of docs/how-to/kubernetes.md."""


@dataclass
class Cluster:
    """One namespace with a service account, and an issuer of CI jobs that is trusted.

    Attributes:
        issuer: the issuer in its AuthenticationConfiguration.
        audiences: `issuer.audiences` there.
        validation: its claim validation rule.
        rules: for each user, what it may do.
        api_audiences: `--api-audiences`.
        max_life: `--service-account-max-token-expiration`, in seconds.
        extra_life: seconds that are added to what was asked for.
        rewrite: changes the claims of an issued token.
        admission: a rule of admission: it refuses, or does nothing.
        has_finalizer: whether Secrets are kept from being removed.
        objects: what is there, by kind, namespace and name.
        issued: the tokens that were issued, in order.
    """

    issuer: str
    audiences: tuple[str, ...] = (AUDIENCE,)
    validation: Callable[[Mapping[str, Any]], bool] = lambda _: True
    rules: dict[str, tuple[Rule, ...]] = field(default_factory=dict[str, tuple[Rule, ...]])
    api_audiences: tuple[str, ...] = (OWN_ISSUER,)
    max_life: int | None = None
    extra_life: int = 0
    rewrite: Callable[[Object], Object] = lambda claims: claims
    admission: Callable[[str, Object], None] = lambda _, __: None
    has_finalizer: bool = False
    namespaces: set[str] = field(default_factory=lambda: {NAMESPACE})
    accounts: dict[tuple[str, str], str] = field(
        default_factory=lambda: {(NAMESPACE, ACCOUNT): str(uuid.uuid4())}
    )
    objects: dict[tuple[str, str, str], Object] = field(
        default_factory=dict[tuple[str, str, str], Object]
    )
    issued: list[str] = field(default_factory=list[str])
    key: rsa.RSAPrivateKey = field(
        default_factory=lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )

    def of(self, kind: str) -> dict[str, Object]:
        """Return the objects of a kind in the namespace, by name."""
        return {
            name: found
            for (of, where, name), found in self.objects.items()
            if (of, where) == (kind, NAMESPACE)
        }

    def trust(self, subject: str, *rules: Rule) -> None:
        """Bind a Role to the job with this subject; by default the one that a lease needs."""
        self.rules[USER_PREFIX + subject] = rules or NEEDED
        account = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
        self.rules[account] = (
            Rule(verbs=frozenset({"create", "get", "list", "delete"}), resource="configmaps"),
        )

    # ── who asks ─────────────────────────────────────────────────────────────────────────────

    def authenticate(self, bearer: str) -> str:
        """Return the user that a bearer is of, or refuse it without saying why."""
        if bearer == ADMIN:
            return "admin"
        try:
            issuer = jwt.decode(bearer, options={"verify_signature": False}).get("iss")
            if issuer == self.issuer:
                return USER_PREFIX + str(self._claims_of_job(bearer)["sub"])
            return str(self.claims_of_account(bearer, self.api_audiences)["sub"])
        except (jwt.InvalidTokenError, LookupError):
            refuse(401, "Unauthorized", "Unauthorized")

    def _claims_of_job(self, bearer: str) -> Object:
        with requests.Session() as http:
            http.trust_env = False
            keys = jwt.PyJWKSet.from_dict(http.get(self.issuer + JWKS_PATH, timeout=5).json())
        claims: Object = jwt.decode(
            bearer,
            keys[jwt.get_unverified_header(bearer)["kid"]],
            algorithms=["RS256"],
            audience=self.audiences,
            issuer=self.issuer,
        )
        if not self.validation(claims):
            raise jwt.InvalidTokenError
        return claims

    def claims_of_account(self, bearer: str, audiences: tuple[str, ...]) -> Object:
        """Return the claims of a token of its own, if all that it names is still there.

        Raises:
            jwt.InvalidTokenError, LookupError: it is not one, or something is not there any more.
        """
        claims = self.verify_offline(bearer, audiences)
        own = claims["kubernetes.io"]
        account, secret = own["serviceaccount"], own.get("secret")
        if self.accounts[own["namespace"], account["name"]] != account["uid"]:
            raise LookupError
        if secret:
            found = self.objects["secrets", own["namespace"], secret["name"]]["metadata"]
            if found["uid"] != secret["uid"]:
                raise LookupError
        return claims

    def takes(self, bearer: str) -> bool:
        """Answer as a TokenReview does, for the API server's own audience."""
        _, answer = self.answer("POST", REVIEWS, ADMIN, {"spec": {"token": bearer}})
        return bool(answer["status"]["authenticated"])

    def verify_offline(self, bearer: str, audiences: tuple[str, ...]) -> Object:
        """Return the claims of a token as they are verified where the API server is not asked."""
        claims: Object = jwt.decode(
            bearer,
            self.key.public_key(),
            algorithms=["RS256"],
            audience=audiences,
            issuer=OWN_ISSUER,
        )
        return claims

    # ── what it may ──────────────────────────────────────────────────────────────────────────

    def _authorize(self, user: str, verb: str, resource: str, namespace: str, name: str) -> None:
        if user == "admin":
            return
        for rule in self.rules.get(user, ()) if namespace == NAMESPACE else ():
            is_meant = verb in rule.verbs and resource == rule.resource
            if is_meant and (not rule.names or name in rule.names):
                return
        kind = resource.partition("/")[0]
        about = f"{kind} {json.dumps(name)}" if name else kind
        what = f'resource "{resource}" in API group "" in the namespace "{namespace}"'
        text = f"{about} is forbidden: User {json.dumps(user)} cannot {verb} {what}"
        refuse(403, "Forbidden", text, kind=kind, **({"name": name} if name else {}))

    # ── what it does ─────────────────────────────────────────────────────────────────────────

    def answer(self, method: str, path: str, bearer: str, body: Object) -> tuple[int, Object]:
        """Answer one request."""
        user = self.authenticate(bearer)
        if method == "GET" and path in _DISCOVERY:
            return 200, _DISCOVERY[path]
        if found := _TOKEN_PATH.fullmatch(path):
            return self._issue(user, found["namespace"], found["name"], body)
        if found := _OBJECT_PATH.fullmatch(path):
            return self._object(method, user, found.groupdict(), body)
        if path == "/apis/authentication.k8s.io/v1/selfsubjectreviews":
            return 201, {**body, "status": {"userInfo": {"username": user}}}
        if path == REVIEWS and user == "admin":
            return 201, {**body, "status": self._review(body["spec"])}
        refuse(404, "NotFound", "the server could not find the requested resource")

    def _object(
        self, method: str, user: str, at: Mapping[str, str | None], body: Object
    ) -> tuple[int, Object]:
        kind, namespace, name = str(at["kind"]), str(at["namespace"]), at["name"]
        verb = "list" if method == "GET" and not name else _VERBS[method]
        self._authorize(user, verb, kind, namespace, name or "")
        if verb == "list":
            found = list(self.of(kind).values())
            return 200, {"kind": f"{_KINDS[kind]}List", "apiVersion": "v1", "items": found}
        if verb == "create":
            return 201, self._create(kind, namespace, body)
        if (kind, namespace, name) not in self.objects:
            refuse(404, "NotFound", f'{kind} "{name}" not found', name=name, kind=kind)
        found_one = self.objects[kind, namespace, str(name)]
        return 200, (self._delete(kind, found_one, body) if verb == "delete" else found_one)

    def _create(self, kind: str, namespace: str, body: Object) -> Object:
        if namespace not in self.namespaces:
            text = f'namespaces "{namespace}" not found'
            refuse(404, "NotFound", text, name=namespace, kind="namespaces")
        self.admission("create", body)
        name = body["metadata"]["name"]
        if (kind, namespace, name) in self.objects:
            refuse(409, "AlreadyExists", f'{kind} "{name}" already exists', name=name, kind=kind)
        made = {
            "namespace": namespace,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
        stored = {**body, "metadata": {**body["metadata"], **made}}
        self.objects[kind, namespace, name] = stored
        return stored

    def _delete(self, kind: str, found: Object, options: Object) -> Object:
        self.admission("delete", found)
        name, uid = found["metadata"]["name"], found["metadata"]["uid"]
        wanted = (options.get("preconditions") or {}).get("uid")
        if wanted and wanted != uid:
            text = (
                f"the UID in the precondition ({wanted}) does not match the UID in record ({uid})"
            )
            text = f'Operation cannot be fulfilled on {_KINDS[kind]} "{name}": {text}. The object'
            refuse(409, "Conflict", f"{text} might have been ...", name=name, kind=_KINDS[kind])
        if self.has_finalizer:
            found["metadata"]["deletionTimestamp"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
            return found
        del self.objects[kind, found["metadata"]["namespace"], name]
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return {**status, "details": {"name": name, "kind": kind, "uid": uid}}

    def _issue(self, user: str, namespace: str, name: str, body: Object) -> tuple[int, Object]:
        self._authorize(user, "create", "serviceaccounts/token", namespace, name)
        if (namespace, name) not in self.accounts:
            text = f'serviceaccounts "{name}" not found'
            refuse(404, "NotFound", text, name=name, kind="serviceaccounts")
        spec = body["spec"]
        life = spec["expirationSeconds"]
        if life < MIN_LIFE:
            problem = f"Invalid value: {life}: may not specify a duration less than 10 minutes"
            at = "spec.expirationSeconds"
            text = f'TokenRequest.authentication.k8s.io "{name}" is invalid: {at}: {problem}'
            causes = [{"reason": "FieldValueInvalid", "message": problem, "field": at}]
            refuse(422, "Invalid", text, name=name, kind="TokenRequest", causes=causes)
        bound = self._bound(namespace, spec["boundObjectRef"])
        if self.max_life is not None:
            life = min(life, self.max_life)
        now = int(time.time())
        claims: Object = {
            "iss": OWN_ISSUER,
            "aud": spec.get("audiences") or list(self.api_audiences),
            "sub": f"system:serviceaccount:{namespace}:{name}",
            "iat": now,
            "nbf": now,
            "exp": now + life + self.extra_life,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": {
                "namespace": namespace,
                "serviceaccount": {"name": name, "uid": self.accounts[namespace, name]},
                "secret": bound,
            },
        }
        token = jwt.encode(self.rewrite(claims), self.key, algorithm="RS256")
        self.issued.append(token)
        until = datetime.fromtimestamp(now + life, UTC)
        status = {"token": token, "expirationTimestamp": f"{until:%Y-%m-%dT%H:%M:%SZ}"}
        return HTTPStatus.CREATED, {**body, "status": status}

    def _bound(self, namespace: str, reference: Mapping[str, str]) -> Mapping[str, str]:
        name, wanted = reference["name"], reference.get("uid")
        if (reference["apiVersion"], reference["kind"]) != ("v1", "Secret"):
            refuse(400, "BadRequest", "cannot bind token to object of type ...")
        if ("secrets", namespace, name) not in self.objects:
            refuse(404, "NotFound", f'secrets "{name}" not found', name=name, kind="secrets")
        uid = self.objects["secrets", namespace, name]["metadata"]["uid"]
        if wanted and wanted != uid:
            text = f"the UID in the bound object reference ({wanted}) does not match the UID in"
            text = f'Operation cannot be fulfilled on Secret "{name}": {text} record ({uid}).'
            refuse(409, "Conflict", text, name=name, kind="Secret")
        return {"name": name, "uid": uid}

    def _review(self, spec: Mapping[str, Any]) -> Object:
        audiences = tuple(spec.get("audiences") or self.api_audiences)
        try:
            claims = self.claims_of_account(spec["token"], audiences)
        except (jwt.InvalidTokenError, LookupError):
            return {"authenticated": False, "error": "service account token has been invalidated"}
        given = [one for one in claims["aud"] if one in audiences]
        return {
            "authenticated": True,
            "audiences": given,
            "user": {"username": claims["sub"]},
        }


def _resource(name: str, kind: str, *verbs: str, is_namespaced: bool = True) -> Object:
    found = {"name": name, "singularName": kind.lower(), "namespaced": is_namespaced}
    return found | {"kind": kind, "verbs": list(verbs)}


_GROUP_VERSION = {"groupVersion": "authentication.k8s.io/v1", "version": "v1"}
_DISCOVERY: Mapping[str, Object] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [
            {
                "name": "authentication.k8s.io",
                "versions": [_GROUP_VERSION],
                "preferredVersion": _GROUP_VERSION,
            }
        ],
    },
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [
            _resource("configmaps", "ConfigMap", "create", "delete", "get", "list"),
            _resource("secrets", "Secret", "create", "delete", "get", "list"),
        ],
    },
    "/apis/authentication.k8s.io/v1": {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "authentication.k8s.io/v1",
        "resources": [
            _resource("selfsubjectreviews", "SelfSubjectReview", "create", is_namespaced=False)
        ],
    },
}
"""What kubectl looks up before anything else."""
