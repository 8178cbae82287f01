"""The tiny model bundle: the real networks at small widths, and a pose pair trained on figures."""
