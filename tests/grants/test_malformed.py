"""Files that break a rule, one row each, and what the loader and the JSON Schema say of them."""

import json
import re
from dataclasses import dataclass

import jsonschema  # type: ignore[import-untyped]  # it brings no types of its own
import pytest

from ci_identity.errors import GrantsFileError
from ci_identity.grants.load import parse
from ci_identity.grants.schema import schema
from tests.grants.editor import read

HEAD = "version: 1\ngrants:\n  a:\n"
FOR = "    for: {issuer: https://ci.example, repository_id: 42}\n"
VAULT = "    vault: {role: r}\n"
EXCHANGE = "url: 'https://t.example', audience: a"


def with_for(value: str) -> str:
    """Line 4 is the `for` of a grant that is right in all else."""
    return f"{HEAD}    for: {value}\n{VAULT}"


def with_key(line: str) -> str:
    """Line 6 is another key of such a grant."""
    return f"{HEAD}{FOR}{VAULT}    {line}\n"


def with_target(line: str) -> str:
    """Line 5 is the target of such a grant."""
    return f"{HEAD}{FOR}    {line}\n"


def with_vault(keys: str) -> str:
    """Line 5 is a Vault target with a role and these keys."""
    return with_target(f"vault: {{role: r, {keys}}}")


def with_secret(value: str) -> str:
    """Line 5 has one secret."""
    return with_vault(f"secrets: {{X: {value}}}")


def with_gcp(keys: str) -> str:
    return with_target(f"gcp: {{provider: {PROVIDER}, {keys}}}")


def with_aws(keys: str) -> str:
    return with_target(f"aws: {{role: 'arn:aws:iam::123456789012:role/r', {keys}}}")


ISSUER = "issuer: https://ci.example"
K8S = "server: https://k.example, audience: a, namespace: n, service_account: s"
UUID = "00000000-0000-0000-0000-000000000000"
PROVIDER = "projects/1/locations/global/workloadIdentityPools/p/providers/q"

NOT_YAML = "an editor reads YAML before any schema sees it"
YAML_FEATURE = "JSON has no such thing, so the schema sees what it stands for"
UNSEEN = "characters are checked before the values are"
NUMBERS = "a schema cannot compare lengths of time, nor tell 1 from 1.0 or 01"
CODE = "a rule about the inside of the text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """One file, the line that the message must name, what it must say, and whether a schema can."""

    id: str
    text: str
    line: int
    says: str
    beyond_schema: str = ""


def row(id_: str, text: str, line: int, says: str, beyond_schema: str = "") -> Malformed:
    return Malformed(id=id_, text=text, line=line, says=says, beyond_schema=beyond_schema)


TABLE = (
    # not YAML, or more of YAML than the format has
    row("empty", "", 1, "no YAML document", NOT_YAML),
    row("comment-only", "# nothing\n", 2, "no YAML document", NOT_YAML),
    row("open-quote", "version: '1\ngrants: {}\n", 3, "not valid YAML", NOT_YAML),
    row("open-brace", "version: 1\ngrants: {\n", 3, "not valid YAML", NOT_YAML),
    row("bad-indent", "version: 1\ngrants:\n  a:\n b: 1\n", 4, "not valid YAML", NOT_YAML),
    row("colon-in-value", with_key("description: a: b"), 6, "not valid YAML", NOT_YAML),
    row("unknown-escape", with_key('description: "\\q"'), 6, "not valid YAML", NOT_YAML),
    row("huge-escape", with_key('description: "\\UFFFFFFFF"'), 6, "not valid YAML", NOT_YAML),
    row("reserved-character", with_key("description: @x"), 6, "not valid YAML", NOT_YAML),
    row("backtick", with_key("description: `x`"), 6, "not valid YAML", NOT_YAML),
    row("tab-indent", f"{HEAD}\tfor: x\n", 4, "a tab", NOT_YAML),
    row("tab-in-value", with_key("description: a\tb"), 6, "a tab", NOT_YAML),
    row("tab-in-comment", f"{HEAD}{FOR}{VAULT}# a\tb\n", 6, "a tab", UNSEEN),
    row("nul", with_key("description: a\0b"), 6, "U+0000", NOT_YAML),
    row("escape-character", with_key("description: a\x1b[2Jb"), 6, "U+001B", NOT_YAML),
    row("bidi-override", with_key("description: a\u202eb"), 6, "U+202E", UNSEEN),
    row("zero-width", with_key("description: a\u200bb"), 6, "U+200B", UNSEEN),
    row("no-break-space", with_key("description:\u00a0b"), 6, "U+00A0", NOT_YAML),
    row("line-separator", with_key("description: a\u2028b"), 6, "U+2028", NOT_YAML),
    row("next-line", with_key("description: a\u0085b"), 6, "U+0085", NOT_YAML),
    row("lone-carriage-return", with_key("description: a\rb: c"), 6, "U+000D", NOT_YAML),
    row("bom-inside", with_key("description: a\ufeffb"), 6, "U+FEFF", UNSEEN),
    row("escaped-nul", with_key('description: "a\\0b"'), 6, "cannot be seen", UNSEEN),
    row("escaped-escape", with_key('audience: "a\\eb"'), 6, "cannot be seen", UNSEEN),
    row("escaped-surrogate", with_key('audience: "\\ud800"'), 6, "cannot be seen", UNSEEN),
    row("escaped-tab-in-key", with_for(f'{{{ISSUER}, "a\\tb": c}}'), 4, "cannot be printed"),
    row("two-documents", f"{HEAD}{FOR}{VAULT}---\nversion: 1\n", 6, "second YAML doc", NOT_YAML),
    row("yaml-directive", "%YAML 1.1\n---\nversion: 1\n", 1, "directive"),
    row("tag-directive", "%TAG !e! tag:x\n---\nversion: 1\n", 1, "directive"),
    row("long-directive", f"%YAML 1.{'9' * 5000}\n---\n", 1, "not valid YAML", NOT_YAML),
    row("anchor", with_key("audience: &x a"), 6, "an anchor", YAML_FEATURE),
    row("anchor-on-mapping", with_for(f"&x {{{ISSUER}, sha: a}}"), 4, "an anchor", YAML_FEATURE),
    row("anchor-on-list", with_key("steps: &x [a]"), 6, "an anchor", YAML_FEATURE),
    row("anchor-on-key", with_key("&x audience: a"), 6, "an anchor", YAML_FEATURE),
    row("alias", with_key("audience: *x"), 6, "an alias", NOT_YAML),
    row("alias-as-key", with_key("*x : a"), 6, "an alias", NOT_YAML),
    row("merge-key", with_key("<<: {audience: a}"), 6, "a merge key"),
    row("merge-key-in-for", with_for(f"{{{ISSUER}, <<: {{a: b}}}}"), 4, "a merge"),
    row("tag", with_key("audience: !!str a"), 6, "a tag", YAML_FEATURE),
    row("tag-python", with_key("audience: !!python/name:os.system a"), 6, "a tag", NOT_YAML),
    row(
        "tag-on-mapping",
        with_for("!!map {issuer: https://c.example, a: b}"),
        4,
        "a tag",
        YAML_FEATURE,
    ),
    row("tag-on-list", with_key("steps: !x [a]"), 6, "a tag", NOT_YAML),
    row("tag-alone", with_key("audience: ! a"), 6, "a tag", YAML_FEATURE),
    row("list-as-key", with_key("? [a]\n    : b"), 6, "where a key must be", NOT_YAML),
    row("mapping-as-key", with_key("? {a: b}\n    : b"), 6, "where a key must be", NOT_YAML),
    row("empty-key", with_key("'': a"), 6, "empty"),
    row("key-long", with_key(f"? {'k' * 5000}\n    : a"), 6, "a key of more than 200"),
    row("vault-role-umlaut", with_target("vault: {role: rölle}"), 5, "`vault.role` must be"),
    row("deep-lists", with_key(f"steps: {'[' * 40}{']' * 40}"), 6, "nested too deeply"),
    row("very-deep-lists", with_key(f"steps: {'[' * 5000}"), 6, "nested too deeply", NOT_YAML),
    row("deep-mappings", with_for("{a: " * 40 + "b" + "}" * 40), 4, "nested too deeply"),
    row("duplicate-key", with_key("vault: {role: s}"), 6, "first on line 5", YAML_FEATURE),
    row("duplicate-quoted", with_key("'vault': {role: s}"), 6, "first on line 5", YAML_FEATURE),
    row("duplicate-claim", with_for(f"{{{ISSUER}, ref: a, ref: b}}"), 4, "`for.ref`", YAML_FEATURE),
    row(
        "duplicate-grant",
        f"{HEAD}{FOR}{VAULT}  a:\n{FOR}{VAULT}",
        6,
        "first on line 3",
        YAML_FEATURE,
    ),
    row("duplicate-top", f"{HEAD}{FOR}{VAULT}version: 1\n", 6, "first on line 1", YAML_FEATURE),
    row("too-large", f"{HEAD}{FOR}{VAULT}#{'x' * (1 << 20)}\n", 0, "larger than", UNSEEN),
    # the top
    row("scalar-file", "hello\n", 1, "must be a mapping"),
    row("list-file", "- a\n", 1, "must be a mapping"),
    row("json-null", "null\n", 1, "must be a mapping"),
    row("no-version", f"grants:\n  a:\n{FOR}{VAULT}", 1, "lacks `version`"),
    row("version-2", "version: 2\nrules: []\n", 1, "must be 1"),
    row("version-float", f"{HEAD}{FOR}{VAULT}".replace("1", "1.0", 1), 1, "must be 1", NUMBERS),
    row("version-octal", f"{HEAD}{FOR}{VAULT}".replace("1", "01", 1), 1, "must be 1", NUMBERS),
    row("version-empty", "version:\ngrants: {}\n", 1, "must be 1"),
    row("version-list", "version: [1]\ngrants: {}\n", 1, "must be 1"),
    row("no-grants", "version: 1\n", 1, "lacks `grants`"),
    row("grants-empty-value", "version: 1\ngrants:\n", 2, "must be a mapping"),
    row("grants-empty", "version: 1\ngrants: {}\n", 2, "is empty"),
    row("grants-list", "version: 1\ngrants:\n- a\n", 2, "must be a mapping"),
    row("unknown-top-key", f"{HEAD}{FOR}{VAULT}grant: x\n", 6, "did you mean `grants`?"),
    # a grant
    row("grant-empty", f"{HEAD}  b:\n{FOR}{VAULT}", 3, "grant `a`: must be a mapping"),
    row("grant-text", "version: 1\ngrants: {a: b}\n", 2, "grant `a`: must be a mapping"),
    row("grant-upper", HEAD.replace("a:", "A:") + FOR + VAULT, 3, "grant `A`"),
    row("grant-dot-first", HEAD.replace("a:", ".a:") + FOR + VAULT, 3, "starts with a letter"),
    row("grant-space", HEAD.replace("a:", "a b:") + FOR + VAULT, 3, "grant `a b`"),
    row("grant-slash", HEAD.replace("a:", "a/b:") + FOR + VAULT, 3, "grant `a/b`"),
    row("grant-long", HEAD.replace("a:", "a" * 65 + ":") + FOR + VAULT, 3, "at most 64"),
    row("grant-umlaut", HEAD.replace("a:", "ä:") + FOR + VAULT, 3, "grant `ä`"),
    row("no-target", HEAD + FOR, 3, "needs one of vault, aws"),
    row("two-targets", with_key("aws: {role: x}"), 6, "`aws.role` must be"),
    row(
        "two-right-targets",
        with_key("token_exchange: {url: 'https://t.example', audience: a}"),
        3,
        "`vault` (line 5) and `token_exchange` (line 6)",
    ),
    row("unknown-key", with_key("step: [a]"), 6, "did you mean `steps`?"),
    row("unknown-key-case", with_key("TTL: 5m"), 6, "did you mean `ttl`?"),
    row("unknown-key-far", with_key("qqq: 5m"), 6, "the keys here are `description`"),
    row("unknown-target", with_target("valt: {role: r}"), 5, "did you mean `vault`?"),
    row("description-empty", with_key("description:"), 6, "`description` has no value"),
    row("description-list", with_key("description: [a]"), 6, "not a list"),
    row("description-long", with_key(f"description: {'x' * 1025}"), 6, "longer than 1024"),
    row("steps-text", with_key("steps: deploy"), 6, "`steps` must be a list"),
    row("steps-empty", with_key("steps: []"), 6, "`steps` is an empty list"),
    row("steps-no-value", with_key("steps:"), 6, "`steps` must be a list"),
    row("steps-bad-id", with_key("steps: [a b]"), 6, "`steps` must be the id of a step"),
    row("steps-empty-item", with_key("steps: [a, '']"), 6, "`steps` has no value"),
    row("steps-many", with_key(f"steps: [{', '.join('a' * 101)}]"), 6, "more than 100"),
    row("steps-item-line", with_key("steps:\n    - a\n    - b c\n"), 8, "`steps` must be the id"),
    row("max-shorter", with_key("max: 5m"), 6, "shorter than the life", "compares two values"),
    row("ttl-number", with_key("ttl: 900"), 6, "90s, 15m or 2h"),
    row("ttl-zero", with_key("ttl: 0m"), 6, "90s, 15m or 2h"),
    row("ttl-negative", with_key("ttl: -5m"), 6, "90s, 15m or 2h"),
    row("ttl-compound", with_key("ttl: 1h30m"), 6, "90s, 15m or 2h"),
    row("ttl-days", with_key("ttl: 1d"), 6, "90s, 15m or 2h"),
    row("ttl-fraction", with_key("ttl: 1.5h"), 6, "90s, 15m or 2h"),
    row("ttl-space", with_key("ttl: 15 m"), 6, "90s, 15m or 2h"),
    row("ttl-arabic-digits", with_key("ttl: \u0661\u0665m"), 6, "90s, 15m or 2h"),
    row("ttl-long", with_key("ttl: 13h"), 6, "longer than 12h", NUMBERS),
    row("ttl-long-minutes", with_key("ttl: 721m"), 6, "longer than 12h", NUMBERS),
    row("ttl-huge", with_key("ttl: 999999h"), 6, "90s, 15m or 2h"),
    row("ttl-newline", with_key('ttl: "15m\\n"'), 6, "90s, 15m or 2h", CODE),
    row("accept-text", with_key("accept: fork"), 6, "`accept` must be a list"),
    row("accept-unknown", with_key("accept: [forks]"), 6, "fork or pull_request_target or"),
    row("accept-all", with_key("accept: ['*']"), 6, "must be fork or"),
    row("accept-true", with_key("accept: true"), 6, "`accept` must be a list"),
    row("audience-empty", with_key("audience: ''"), 6, "`audience` has no value"),
    row("audience-list", with_key("audience: [a, b]"), 6, "not a list"),
    # for
    row("no-for", HEAD + VAULT, 3, "lacks `for`"),
    row("for-empty-value", with_for(""), 4, "for everyone"),
    row("for-empty", with_for("{}"), 4, "for everyone"),
    row("for-text", with_for("everyone"), 4, "for everyone"),
    row("for-list", with_for(f"[{{{ISSUER}}}]"), 4, "for everyone"),
    row("no-issuer", with_for("{repository_id: 42}"), 4, "lacks `issuer`"),
    row("issuer-twice", with_for("{issuer: https://a.example, iss: https://b.example}"), 4, "both"),
    row("subject-twice", with_for(f"{{{ISSUER}, sub: a, subject: b}}"), 4, "`sub` and `subject`"),
    row("condition-empty", with_for(f"{{{ISSUER}, ref: }}"), 4, "`for.ref` has no value"),
    row("condition-empty-text", with_for(f"{{{ISSUER}, ref: ''}}"), 4, "`for.ref` has no value"),
    row("condition-empty-list", with_for(f"{{{ISSUER}, ref: []}}"), 4, "`for.ref` is an empty"),
    row("condition-list-in-list", with_for(f"{{{ISSUER}, ref: [[a]]}}"), 4, "`for.ref` must be"),
    row("condition-empty-item", with_for(f"{{{ISSUER}, ref: [a, '']}}"), 4, "`for.ref` has no"),
    row("condition-regex", with_for(f"{{{ISSUER}, ref: {{regex: a}}}}"), 4, "`for.ref.regex`"),
    row("condition-glob-list", with_for(f"{{{ISSUER}, ref: {{glob: [a]}}}}"), 4, "`for.ref.glob`"),
    row("condition-glob-empty", with_for(f"{{{ISSUER}, ref: {{glob: }}}}"), 4, "has no value"),
    row("condition-no-glob", with_for(f"{{{ISSUER}, ref: {{}}}}"), 4, "lacks `glob`"),
    row("condition-long", with_for(f"{{{ISSUER}, ref: {'x' * 1025}}}"), 4, "longer than 1024"),
    row("condition-newline", with_for(f'{{{ISSUER}, ref: "a\\nb"}}'), 4, "`for.ref` must be the"),
    row("claim-name", with_for(f"{{{ISSUER}, 'a b': c}}"), 4, "a claim's name is"),
    row("claim-name-glob", with_for(f"{{{ISSUER}, 'repository*': c}}"), 4, "a claim's name is"),
    row("claim-name-long", with_for(f"{{{ISSUER}, {'a' * 129}: c}}"), 4, "a claim's name is"),
    # vault
    row("vault-empty", with_target("vault:"), 5, "`vault` must be a mapping with `role`"),
    row("vault-no-role", with_target("vault: {mount: jwt}"), 5, "`vault` lacks `role`"),
    row("vault-role-slash", with_target("vault: {role: a/b}"), 5, "`vault.role` must be a role's"),
    row("vault-role-list", with_target("vault: {role: [a]}"), 5, "`vault.role`"),
    row("vault-unknown", with_vault("policy: [a]"), 5, "did you mean `policies`?"),
    row(
        "vault-http",
        with_vault("address: 'http://v.example'"),
        5,
        "plain http is for loopback only",
        CODE,
    ),
    row("vault-ftp", with_vault("address: 'ftp://v.example'"), 5, "`vault.address` must be"),
    row("vault-no-scheme", with_vault("address: v.example"), 5, "`vault.address` must be"),
    row("vault-user", with_vault("address: 'https://u:p@v.example'"), 5, "`vault.address` must"),
    row("vault-no-host", with_vault("address: 'https:///v'"), 5, "must be an address", CODE),
    row("vault-port", with_vault("address: 'https://v:99999'"), 5, "must be an address", CODE),
    row("vault-query", with_vault("address: 'https://v.example?x'"), 5, "`vault.address` must"),
    row("vault-mount-slash", with_vault("mount: /jwt"), 5, "`vault.mount` must be a path"),
    row("vault-mount-dots", with_vault("mount: a/../sys"), 5, "`vault.mount` must be a path"),
    row("vault-namespace-end", with_vault("namespace: a/"), 5, "`vault.namespace` must be"),
    row("vault-namespace-int", with_vault("namespace: [1]"), 5, "`vault.namespace` must be"),
    row("vault-policies-empty", with_vault("policies: []"), 5, "`vault.policies` is an empty"),
    row("vault-policies-comma", with_vault("policies: ['a,b']"), 5, "a policy's name"),
    row("vault-policies-text", with_vault("policies: a"), 5, "`vault.policies` must be a list"),
    row("secrets-empty", with_vault("secrets: {}"), 5, "`vault.secrets` is empty"),
    row("secrets-list", with_vault("secrets: [a#b]"), 5, "`vault.secrets` must be a mapping"),
    row("secret-no-field", with_secret("a/b"), 5, "`vault.secrets.X` must be path#field"),
    row("secret-no-path", with_secret("'#b'"), 5, "must be path#field"),
    row("secret-empty-field", with_secret("'a/b#'"), 5, "must be path#field"),
    row("secret-two-fields", with_secret("a/b#c#d"), 5, "must be path#field"),
    row("secret-leading-slash", with_secret("/a/b#c"), 5, "must be path#field"),
    row("secret-dots", with_secret("a/../b#c"), 5, "must be path#field"),
    row("secret-encoded-dots", with_secret("a/%2e%2e/b#c"), 5, "must be path#field"),
    row("secret-double-slash", with_secret("a//b#c"), 5, "must be path#field"),
    row("secret-query", with_secret("'a?version=1#c'"), 5, "must be path#field"),
    row("secret-wildcard", with_secret("a/*#c"), 5, "must be path#field"),
    row("secret-newline", with_secret('"a/b\\n#c"'), 5, "must be path#field"),
    row("secret-empty", with_secret(""), 5, "`vault.secrets.X` has no value"),
    row("secret-list", with_secret("[a#b]"), 5, "must be path#field or {from"),
    row("secret-no-from", with_secret("{public: true}"), 5, "lacks `from`"),
    row(
        "secret-public-yes",
        with_secret("{from: a#b, public: yes}"),
        5,
        "true or false",
    ),
    row("secret-public-1", with_secret("{from: a#b, public: 1}"), 5, "must be true or false"),
    row("secret-unknown", with_secret("{from: a#b, mask: no}"), 5, "`vault.secrets.X.mask`"),
    *(
        row(
            f"variable-{name}",
            with_vault(f"secrets: {{{name}: a#b}}"),
            5,
            f"`vault.secrets.{name}`",
        )
        for name in (
            "1X",
            "A-B",
            "A.B",
            "PATH",
            "LD_PRELOAD",
            "DYLD_INSERT_LIBRARIES",
            "PYTHONPATH",
            "NODE_OPTIONS",
            "BASH_ENV",
            "ENV",
            "IFS",
            "HOME",
            "GITHUB_ENV",
            "GITHUB_TOKEN_X",
            "CI_IDENTITY_TOKEN",
            "ACTIONS_ID_TOKEN_REQUEST_URL",
            "https_proxy",
            "VAULT_TOKEN",
            "GIT_SSH_COMMAND",
            "SSL_CERT_FILE",
            "BASH_FUNC_x",
            "PERL5OPT",
            "CI",
        )
    ),
    # aws
    row("aws-no-role", with_target("aws: {region: eu-west-1}"), 5, "`aws` lacks `role`"),
    row("aws-role-name", with_target("aws: {role: deploy}"), 5, "the ARN of a role"),
    row("aws-role-user", with_target("aws: {role: 'arn:aws:iam::123456789012:user/x'}"), 5, "ARN"),
    row("aws-role-account", with_target("aws: {role: 'arn:aws:iam::12:role/x'}"), 5, "the ARN"),
    row("aws-region", with_aws("region: Ireland"), 5, "`aws.region` must be a region"),
    row("aws-region-host", with_aws("region: x.example/"), 5, "`aws.region` must be a region"),
    row("aws-policy-empty", with_aws("policy: []"), 5, "`aws.policy` is an empty list"),
    row("aws-policy-mapping", with_aws("policy: {allow: [a]}"), 5, "`aws.policy` must be a list"),
    row("aws-policy-no-on", with_aws("policy: [{allow: ['s3:*']}]"), 5, "`aws.policy` lacks `on`"),
    row("aws-policy-text", with_aws("policy: [{allow: 's3:*', on: ['*']}]"), 5, "must be a list"),
    row("aws-policy-deny", with_aws("policy: [{deny: ['*'], on: ['*']}]"), 5, "`aws.policy.deny`"),
    row("aws-policy-action", with_aws("policy: [{allow: [x], on: ['*']}]"), 5, "an action, such"),
    row("aws-policy-resource", with_aws("policy: [{allow: ['*'], on: [x]}]"), 5, "an ARN or *"),
    row("aws-policy-not-json", with_aws("policy: hello"), 5, "in JSON", CODE),
    row("aws-policy-json-list", with_aws("policy: '[]'"), 5, "in JSON", CODE),
    row("aws-policy-json-deep", with_aws(f"policy: '{'[' * 2000}'"), 5, "in JSON", CODE),
    row("aws-policy-long", with_aws(f"policy: '{'x' * 2049}'"), 5, "longer than 2048"),
    row("aws-policy-arns", with_aws("policy_arns: [ReadOnlyAccess]"), 5, "a managed policy"),
    # the others
    row("gcp-provider", with_target("gcp: {provider: github}"), 5, "`gcp.provider` must be"),
    row(
        "gcp-project-name",
        with_target(f"gcp: {{provider: {PROVIDER.replace('/1/', '/p/')}}}"),
        5,
        "NUMBER",
    ),
    row(
        "gcp-account",
        with_target(f"gcp: {{provider: {PROVIDER}, service_account: x}}"),
        5,
        "account",
    ),
    row("gcp-scopes", with_target(f"gcp: {{provider: {PROVIDER}, scopes: []}}"), 5, "empty list"),
    row(
        "gcp-boundary", with_target(f"gcp: {{provider: {PROVIDER}, boundary: [{{}}]}}"), 5, "lacks"
    ),
    row("gcp-delegates", with_gcp("delegates: [x]"), 5, "a service account"),
    row(
        "gcp-delegates-alone",
        with_gcp("delegates: [a@p.iam.gserviceaccount.com]"),
        5,
        "lead to a `service_account`",
    ),
    row("gcp-project-id", with_gcp("project: My Project"), 5, "a project's id"),
    row("gcp-universe", with_gcp("universe: example.goog/path"), 5, "a domain"),
    row(
        "azure-tenant",
        with_target(f"azure: {{tenant: acme, client: {UUID}, resources: [https://a]}}"),
        5,
        "an id such as",
    ),
    row(
        "azure-no-resources",
        with_target(f"azure: {{tenant: {UUID}, client: {UUID}}}"),
        5,
        "`resources`",
    ),
    row(
        "azure-resource",
        with_target(f"azure: {{tenant: {UUID}, client: {UUID}, resources: [x]}}"),
        5,
        "a resource",
    ),
    row(
        "kubernetes-http",
        with_target(f"kubernetes: {{{K8S.replace('https', 'http')}}}"),
        5,
        "for loopback only",
        CODE,
    ),
    row(
        "kubernetes-namespace",
        with_target(f"kubernetes: {{{K8S.replace('namespace: n', 'namespace: N')}}}"),
        5,
        "a namespace",
    ),
    row(
        "kubernetes-audience",
        with_target("kubernetes: {server: https://k.example, namespace: n, service_account: s}"),
        5,
        "lacks `audience`",
    ),
    row(
        "exchange-http",
        with_target("token_exchange: {url: 'http://t.example', audience: a}"),
        5,
        "for loopback only",
        CODE,
    ),
    row(
        "exchange-revoke",
        with_target("token_exchange: {url: 'https://t.example', audience: a, revoke_url: x}"),
        5,
        "`token_exchange.revoke_url`",
    ),
    row(
        "exchange-scope",
        with_target("token_exchange: {url: 'https://t.example', audience: a, scope: ' '}"),
        5,
        "scopes, separated",
    ),
    *(
        row(
            f"exchange-{name}",
            with_target(f"token_exchange: {{{EXCHANGE}, parameters: {{{name}: x}}}}"),
            5,
            f"`token_exchange.parameters.{name}` is not a name that can be used",
        )
        for name in ("audience", "subject_token", "client_secret", "actor_token", "a b")
    ),
    row(
        "exchange-type",
        with_target(f"token_exchange: {{{EXCHANGE}, subject_token_type: saml2}}"),
        5,
        "must be jwt or id_token",
    ),
    row(
        "exchange-variable",
        with_target(f"token_exchange: {{{EXCHANGE}, variable: LD_PRELOAD}}"),
        5,
        "the loader takes code or orders from it",
        CODE,
    ),
    row(
        "exchange-grant-name",
        f"version: 1\ngrants:\n  vault:\n{FOR}    token_exchange: {{{EXCHANGE}}}\n",
        3,
        "needs a `variable`, since it cannot be VAULT_TOKEN",
        CODE,
    ),
    row(
        "exchange-grant-digit",
        f"version: 1\ngrants:\n  1st:\n{FOR}    token_exchange: {{{EXCHANGE}}}\n",
        3,
        "needs a `variable`, since it cannot be 1ST_TOKEN",
        CODE,
    ),
)

VALID = {
    "least": HEAD + FOR + VAULT,
    "short-names": with_for("{iss: https://ci.example, sub: a, aud: b}"),
    "document-marks": f"---\n{HEAD}{FOR}{VAULT}...\n",
    "windows-line-ends": (HEAD + FOR + VAULT).replace("\n", "\r\n"),
    "json": json.dumps(read(HEAD + FOR + VAULT)),
    "version-quoted": (HEAD + FOR + VAULT).replace("1", "'1'", 1),
    "numbers-and-booleans": with_for(f"{{{ISSUER}, a: 42, b: true, c: 1.5, d: [1, no]}}"),
    "any-of-with-globs": with_for(f"{{{ISSUER}, ref: [a, {{glob: b/*}}]}}"),
    "longest": HEAD.replace("a:", "a" * 64 + ":") + FOR + VAULT,
    "description-block": with_key("description: |\n      a\n      b"),
    "steps": with_key("steps: [deploy, __run_2]"),
    "ttl-longest": with_key("ttl: 12h"),
    "accept": with_key("accept: [fork, audiences]"),
    "circleci-claim": with_for(f"{{{ISSUER}, oidc.circleci.com/project-id: a}}"),
    "loopback": with_vault("address: 'http://127.0.0.1:8200'"),
    "paths": with_vault("mount: jwt/ci, namespace: a/b, auth_namespace: a"),
    "field-with-dot": with_secret("kv/data/my-app/.env#tls.crt"),
    "github-token": with_vault("secrets: {GITHUB_TOKEN: a#b, lower_case: a#b}"),
    "not-public": with_secret("{from: a#b, public: false}"),
    "role-number": with_target("vault: {role: 42}"),
    "policy-json": with_aws("""policy: '{"Statement": []}'"""),
    "gcp-least": with_target(f"gcp: {{provider: {PROVIDER}}}"),
    "gcp-most": with_gcp(
        "service_account: a@p.iam.gserviceaccount.com, delegates: [b@p.iam.gserviceaccount.com],"
        " project: acme.example:shop-1, universe: example.goog, boundary: []"
    ),
    "kubernetes": with_target(f"kubernetes: {{{K8S}}}"),
}

VALIDATOR = jsonschema.Draft202012Validator(schema())


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.id)
def test_malformed_file_is_one_clear_error(bad: Malformed) -> None:
    """A file that breaks a rule is a configuration error that names file, line and key, no more."""
    with pytest.raises(GrantsFileError) as caught:
        parse(bad.text, "grants.yml")
    message = str(caught.value)
    assert (caught.value.exit_code, caught.value.code) == (2, "grants-invalid")
    assert message.startswith(f"grants.yml:{bad.line}: " if bad.line else "grants.yml: ")
    assert bad.says in message
    assert message.isprintable()
    assert len(message) < 500
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_table_is_large_and_each_row_is_its_own() -> None:
    """At least a hundred ways to be wrong, none of them twice."""
    assert len(TABLE) >= 100
    assert len({bad.id for bad in TABLE}) == len({bad.text for bad in TABLE}) == len(TABLE)


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.id)
def test_schema_refuses_what_the_loader_refuses(bad: Malformed) -> None:
    """The schema refuses the same files, but for those whose row says why it cannot."""
    if bad.beyond_schema == NOT_YAML:
        return
    is_valid = VALIDATOR.is_valid(read(bad.text))
    assert is_valid == bool(bad.beyond_schema)


@pytest.mark.parametrize("text", VALID.values(), ids=VALID)
def test_schema_and_loader_take_what_is_right(text: str) -> None:
    """A file that the loader takes, an editor with the schema takes too."""
    assert parse(text, "grants.yml").grants
    assert VALIDATOR.is_valid(read(text))


def test_message_never_quotes_a_value() -> None:
    """A secret that was pasted into the grants file does not get into a log by our message."""
    for text in (with_secret("hunter2"), with_key("ttl: hunter2"), with_key("accept: [hunter2]")):
        with pytest.raises(GrantsFileError) as caught:
            parse(text, "grants.yml")
        assert not re.search("hunter2", f"{caught.value} {caught.value.cause} {caught.value.hint}")
