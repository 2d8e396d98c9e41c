"""a local world to run in: an OIDC issuer and a real OpenBao."""
