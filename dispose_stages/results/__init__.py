"""What came out of a run: outcomes of pairs, status, and the tables for users of the data."""
