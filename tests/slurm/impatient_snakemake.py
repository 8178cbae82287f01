"""Snakemake that asks for its jobs' state every two seconds.

The plugin waits ten seconds longer after every answer without a finished job, up to three minutes:
right on a cluster with other users, and minutes lost in a test.
"""

import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

SECONDS = 2.0

if __name__ == "__main__":
    always = property(lambda self: SECONDS, lambda self, value: None)
    RemoteExecutor.next_seconds_between_status_checks = always
    main(sys.argv[1:])
