"""After the job, from outside it: end what jobs left alive, as far as the ledger tells."""
