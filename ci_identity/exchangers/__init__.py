"""exchange: a subject token for a narrow credential."""
