"""A CI job proves who it is, gets a credential for one step, and loses it when the step ends."""
