"""A real authorization server, oidc-provider for Node.js, to which a grant type is added.

Its own are the endpoints and what they read, its clients, its tokens, its errors, and revocation.
Ours are the lines below that look at the subject token, which it leaves to whoever runs it.
"""

import subprocess
from pathlib import Path
from typing import IO, Self, cast

import requests

from tests.aws import npm
from tests.token_exchange.server import API, GRANT_TYPE, TYPES

PACKAGES = ("oidc-provider@8.8.1", "jose@5.10.0")
CLIENT = "shop-ci"

_SERVER = f"""
import {{ createServer }} from "node:http";
import {{ createRemoteJWKSet, jwtVerify }} from "jose";
import Provider, {{ errors }} from "oidc-provider";
const [issuer, subject] = process.argv.slice(2);
const keys = createRemoteJWKSet(new URL(`${{issuer}}/.well-known/jwks.json`));
const server = createServer().listen(0, "127.0.0.1", () => {{
  const address = `http://127.0.0.1:${{server.address().port}}`;
  const provider = new Provider(address, {{
    clients: [{{
      client_id: "{CLIENT}", token_endpoint_auth_method: "none", redirect_uris: [],
      response_types: [], grant_types: ["{GRANT_TYPE}"], scope: "upload download",
    }}],
    scopes: ["upload", "download"],
    features: {{ revocation: {{ enabled: true }}, clientCredentials: {{ enabled: true }},
      devInteractions: {{ enabled: false }} }},
    ttl: {{ ClientCredentials: 900 }},
  }});
  provider.registerGrantType("{GRANT_TYPE}", async (ctx) => {{
    const {{ client, params }} = ctx.oidc;
    if (params.subject_token_type !== "{TYPES}jwt") {{
      throw new errors.InvalidRequest("subject_token_type");
    }}
    if (params.audience !== "{API}") throw new errors.InvalidTarget(params.audience);
    try {{
      await jwtVerify(params.subject_token, keys, {{ issuer, audience: "{API}", subject }});
    }} catch (error) {{
      throw new errors.InvalidGrant(error.message);
    }}
    const wanted = (params.scope ?? "").split(" ").filter(Boolean);
    const known = (client.scope ?? "").split(" ");
    if (!wanted.every((one) => known.includes(one))) {{
      throw new errors.InvalidScope("scope", params.scope);
    }}
    const token = new provider.ClientCredentials({{ client, scope: wanted.join(" ") }});
    ctx.body = {{
      access_token: await token.save(), issued_token_type: "{TYPES}access_token",
      token_type: token.tokenType, expires_in: token.expiration, scope: token.scope,
    }};
  }}, ["audience", "scope", "subject_token", "subject_token_type"]);
  provider.use(async (ctx, next) => {{
    if (ctx.path !== "/takes") return next();
    ctx.body = String(Boolean(await provider.ClientCredentials.find(ctx.query.token)));
  }});
  server.on("request", provider.callback());
  console.log(address);
}});
"""


class OidcProvider:
    """A running oidc-provider with one client, which has no secret; leaving the block ends it.

    Attributes:
        address: where it listens.
    """

    def __init__(self, issuer: str, subject: str, folder: Path) -> None:
        command = [*npm.module(_SERVER, PACKAGES, folder), issuer, subject]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.address = cast("IO[str]", self._process.stdout).readline().strip()
        assert self.address, "it did not start"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def takes(self, token: str) -> bool:
        """Return whether it knows the token as one that is alive."""
        answer = requests.get(f"{self.address}/takes", params={"token": token}, timeout=9)
        return answer.text == "true"
