"""what in this job is already a usable secret."""
