"""Stage ``score``: how good a delivered video is, with everything the numbers depend on."""
