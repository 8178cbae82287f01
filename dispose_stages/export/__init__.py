"""Publishing a finished run as a data set; known to the command line only, not a stage."""
