"""The engine: an experiment's cells, their records, what is missing, and running it, here or on a cluster."""
