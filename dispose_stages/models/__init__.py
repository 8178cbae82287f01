"""Networks and their checkpoints; attribute names follow the published state dicts."""
