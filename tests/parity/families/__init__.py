"""One module per area; each lists its `Family` entries as ``FAMILIES``."""
