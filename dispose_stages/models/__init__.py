"""Networks; attribute names follow the published state dicts."""
