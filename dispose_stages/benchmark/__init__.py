"""Tables over the scores of finished runs, and benchmarks that end in one."""
