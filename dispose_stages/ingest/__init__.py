"""Looks at every media file once: can it be used, how large is it, what is its content's digest."""
