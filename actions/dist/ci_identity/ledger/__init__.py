"""record: what was asked, issued and ended."""
