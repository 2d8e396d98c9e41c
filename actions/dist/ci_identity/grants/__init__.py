"""decide: which job may have which grant."""
