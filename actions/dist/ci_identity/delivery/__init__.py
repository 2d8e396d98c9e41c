"""deliver: to one process tree and nothing else."""
