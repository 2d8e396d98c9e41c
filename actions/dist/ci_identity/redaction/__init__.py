"""redact: nothing of a secret in the log."""
