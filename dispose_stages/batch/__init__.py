"""From a manifest to the jobs of a run: rows, units, shards, and what the jobs left behind."""
