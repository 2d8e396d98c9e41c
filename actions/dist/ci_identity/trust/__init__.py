"""The provider's side: what a role's trust policy says of this job, and why AWS said no."""
