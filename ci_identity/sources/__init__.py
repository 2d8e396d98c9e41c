"""identify: where the job's OIDC token comes from."""
