"""The job-long process behind the GitHub action: it holds what the named steps may use."""

AGENT = "CI_IDENTITY_AGENT"
"""The variable with the folders of the job's agents: the latest first, colons as in PATH."""
