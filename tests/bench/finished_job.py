"""Stands in for ``dispose`` in bench_plan: writes what the rule expects, at once."""

import sys
from pathlib import Path

command, options = sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
ledger = Path(options["--run-dir"]) / "ledger"
if command == "fingerprint":
    path = ledger / "weights.json"
else:
    path = ledger / command / f"{options['--shard']}.json"
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text("{}\n")
