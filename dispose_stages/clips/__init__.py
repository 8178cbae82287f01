"""Proposes rows of a manifest: pieces of videos in which one person moves, and why no others."""
