"""A planned run with made-up media, and stages that count what they are asked to compute."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dispose_stages.artifacts import Latents
from dispose_stages.atomic import readable_json, write_pieces, write_text
from dispose_stages.batch.job import perform_shard
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.lease import read_lease
from dispose_stages.batch.ledger import Ledger, Shard
from dispose_stages.batch.manifest import read_manifest, rejects_csv
from dispose_stages.batch.plan import Plan, build_plan, upstream_shards
from dispose_stages.batch.run_files import pairs_text, write_stage_weights
from dispose_stages.batch.stage import ArtifactRepository
from dispose_stages.batch.summary import PlanSummary, ShardSummary
from dispose_stages.batch.unit import Result, Unit
from dispose_stages.config import STAGES, Config, load_config


def compute(worker, unit):
    """What the runner does with a unit."""
    return worker.compute(**worker.read(unit))


def ready(stage: str, key: str, params, sources, inputs=None) -> Unit:
    """A unit whose inputs are all there.

    Args:
        stage: Of the unit.
        key: Of its artifact.
        params: Plain values.
        sources: Role to path.
        inputs: Role to (stage, key) or (stage, key, facts), or (stage, result).
    """
    found = {
        role: (upstream[0], _input(*upstream[1:])) for role, upstream in (inputs or {}).items()
    }
    return Unit(
        stage=stage,
        id=str(params.get("pair_id", "unit")),
        label="what it is",
        route=0,
        params=params,
        sources={role: str(path) for role, path in sources.items()},
        upstream={role: (upstream, "unit") for role, (upstream, _) in found.items()},
        key=key,
        inputs={role: result for role, (_, result) in found.items()},
    )


def _input(found: Result | str, facts=()) -> Result:
    return found if isinstance(found, Result) else Result(key=found, digest="d", facts=dict(facts))


MINUTE_SHARDS = {"minutes": 0.05}


class CountingStage:
    """Turns a unit into one small array; counts loads and calls.

    Args:
        name: The stage it stands for.
        compute: Called with the unit before its artifact is made; may raise.
    """

    revision = 1
    optional: frozenset[str] = frozenset()

    def __init__(self, name: str, compute: Callable = lambda unit: None) -> None:
        self.name = name
        self.loads = 0
        self.calls: Counter[str] = Counter()
        self.before = compute
        self.context = None

    def repository(self, context):
        if self.name == "ingest":
            return FactsInMemory()
        return ArtifactRepository(context)

    def open(self, context):
        self.loads += 1
        self.context = context
        return self

    def read(self, unit):
        return {"unit": unit}

    def compute(self, *, unit):
        self.calls[unit.id] += 1
        self.before(unit)
        values = np.frombuffer(unit.key.encode(), dtype=np.uint8)[:4].astype(np.float32)
        return Latents(values.reshape(1, 4, 1, 1))


class FactsInMemory:
    """Ingest keeps no artifacts; the digest of a file stands for it."""

    def find(self, unit):
        return None

    def commit(self, unit, artifact):
        path = unit.source("media")
        digest = path.read_bytes().hex()[:40]
        return Result(key=digest, digest=digest, facts={"kind": unit.params["kind"]})


@dataclass
class ToyRun:
    """A planned run below a folder."""

    root: Path
    config: Config
    plan: Plan
    layout: RunLayout
    stages: dict[str, CountingStage] = field(default_factory=dict)

    def perform(self, stage: str, **options) -> list[int]:
        """All shards of a stage; returns the exit statuses."""
        code = self.stages.setdefault(stage, CountingStage(stage))
        names = self.plan.shards(stage)
        return [
            perform_shard(stage, self.layout.root, name, stage=code, **options) for name in names
        ]

    def perform_all(self, *stages: str) -> None:
        for stage in stages or STAGES:
            assert set(self.perform(stage)) <= {0}, stage  # `score` has units on request only

    def ledgers(self, stage: str) -> list[Ledger]:
        return [Ledger.read(self.layout.ledger(stage, name)) for name in self.plan.shards(stage)]

    def entries(self, stage: str) -> dict:
        return {
            unit: entry for ledger in self.ledgers(stage) for unit, entry in ledger.units.items()
        }

    def stats(self, stage: str) -> list[dict]:
        names = self.plan.shards(stage)
        return [json.loads(self.layout.stats(stage, name).read_text()) for name in names]

    def heartbeat(self, stage: str, shard: str):
        return read_lease(self.layout.running(stage, shard))


def plan_run(
    root: Path, images: int = 2, videos: int = 2, *, columns="", more=(), **config
) -> ToyRun:
    """Write media, manifest and plan of images x videos below a folder.

    Args:
        root: The folder.
        images: How many.
        videos: How many.
        columns: Further columns of the manifest, with commas between.
        more: Further lines of the manifest.
        config: Settings.
    """
    media = root / "media"
    media.mkdir(parents=True, exist_ok=True)
    lines = [",".join(["pair_id,reference_image,driving_video", *filter(None, [columns])])]
    for i in range(images):
        (media / f"i{i}.png").write_text(f"image {i}")
        for v in range(videos):
            (media / f"v{v}.mp4").write_text(f"video {v}")
            lines.append(f"i{i}_v{v},media/i{i}.png,media/v{v}.mp4")
    manifest = root / "manifest.csv"
    manifest.write_text("\n".join([*lines, *more]) + "\n")
    values = {
        "manifest": str(manifest),
        "results": str(root / "results"),
        "store": str(root / "store"),
        "models": {"bundle": "tiny", "root": str(root / "models")},
        "compute": {"device": "cpu"},
        **config,
    }
    settled = load_config(values)
    rows = read_manifest(manifest, settled.parameters)
    plan = build_plan(settled, rows)
    layout = RunLayout(settled.run_dir)
    write_plan(layout, settled, plan, rows.problems)
    write_stage_weights(layout, "tiny", dict.fromkeys(STAGES, "w"))
    return ToyRun(root, settled, plan, layout)


def write_plan(layout: RunLayout, config: Config, plan: Plan, problems=()) -> None:
    """What planning leaves behind."""
    write_text(layout.config, readable_json(config.model_dump(mode="json")))
    write_pieces(layout.pairs, pairs_text(plan.rows, problems))
    write_text(layout.rejects, rejects_csv(problems))
    summaries = {stage: {} for stage in STAGES}
    for stage in STAGES:
        for name, units in plan.shards(stage).items():
            upstream = {s: tuple(n) for s, n in upstream_shards(plan, units).items()}
            shard = Shard(stage, name, 1, tuple(units), upstream)
            write_text(layout.shard(stage, name), shard.to_json())
            summaries[stage][name] = ShardSummary(len(units), "plan", upstream)
    summary = PlanSummary(len(plan.rows), 0, dict(plan.shard_counts), summaries, "w", "r", 30.0)
    write_text(layout.summary, summary.to_json())
