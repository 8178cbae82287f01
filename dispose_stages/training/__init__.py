"""Training of DisPose's networks: on the procedural world, or on a data set of one's own."""
