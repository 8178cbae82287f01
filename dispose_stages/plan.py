"""Rows → units → shards: what a run consists of, known before anything runs.

A *unit* is the smallest thing a stage computes and commits. Its identity is what it is made from
(stage, parameters the stage reads and no others, sources, upstream units), so rows that agree in
these share it. Units go to *shards* (jobs) by a stable hash, so adding rows changes few shards;
the number of shards is a power of two, so a shard of a finer stage lies inside one of a coarser.

Planning reads the manifest only: no media, no weights, no torch. What a unit's artifact is called
(its *key*) follows from content digests and is worked out by the job (`dispose_stages.ledger`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dispose_stages.atomic import canonical_json
from dispose_stages.config import STAGES, Config
from dispose_stages.manifest import Manifest, Row

_ROUTE_BITS = 64


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest thing a stage computes.

    Attributes:
        stage: Which stage.
        id: Hash of everything below but `label` and `route`; for ``mux`` the pair's id.
        label: For people: file names or pair id.
        route: 64-bit number that decides the shard.
        params: Plain values the stage reads; nothing else influences its numbers.
        sources: Role to absolute path of the files it reads.
        upstream: Role to (stage, unit id) of the artifacts it reads.
        stamp: Token of the last forced re-run; empty if there was none.
    """

    stage: str
    id: str
    label: str
    route: int
    params: Mapping[str, Any]
    sources: Mapping[str, str]
    upstream: Mapping[str, tuple[str, str]]
    stamp: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """A row of the manifest and the units it needs, by role."""

    row: Row
    units: Mapping[str, str]


@dataclass(slots=True)
class Plan:
    """All units of a run, by stage and id, in order of first use; and their pairs."""

    units: dict[str, dict[str, Unit]] = field(default_factory=lambda: {s: {} for s in STAGES})
    pairs: list[Pair] = field(default_factory=list)
    shard_counts: dict[str, int] = field(default_factory=dict)

    def shards(self, stage: str) -> dict[str, list[Unit]]:
        """Units of every shard of a stage that has any, both in stable order."""
        count = self.shard_counts[stage]
        shards: dict[str, list[Unit]] = {}
        for unit in sorted(self.units[stage].values(), key=lambda u: (u.route, u.id)):
            shards.setdefault(shard_name(unit.route, count), []).append(unit)
        return shards

    def shard_of(self, stage: str, unit_id: str) -> str:
        """Name of the shard that computes a unit."""
        return shard_name(self.units[stage][unit_id].route, self.shard_counts[stage])


def _hash64(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def shard_name(route: int, count: int) -> str:
    """Shard of a route: the leading bits decide, so that splitting shards nests."""
    bits = count.bit_length() - 1
    index = route >> (_ROUTE_BITS - bits) if bits else 0
    width = len(str(count))
    return f"{index:0{width}d}-of-{count}"


def shard_count(units: int, seconds_per_unit: float, minutes: float, maximum: int) -> int:
    """Smallest power of two that keeps a job within `minutes`, at most `maximum` and `units`."""
    wanted = units * seconds_per_unit / (minutes * 60)
    limit = max(1, min(maximum, units))
    exponent = min(math.ceil(math.log2(max(wanted, 1.0))), int(math.log2(limit)))
    return 1 << exponent


def settle_shard_count(wanted: int, previous: int | None) -> int:
    """Keep the previous count unless it is off by more than a factor of two.

    A changed count renames every shard, so a run that grows row by row should not do it each time
    it crosses a power of two.
    """
    if previous and previous & (previous - 1) == 0 and wanted / 2 <= previous <= wanted * 2:
        return previous
    return wanted


class _Planner:
    """Collects units while walking over the rows; equal identities meet in one unit."""

    def __init__(self, config: Config, stamps: Mapping[str, Mapping[str, str]]) -> None:
        self.config = config
        self.stamps = stamps
        self.plan = Plan()

    def add(
        self,
        stage: str,
        label: str,
        route: str,
        params: Mapping[str, Any],
        *,
        sources: Mapping[str, str] | None = None,
        upstream: Mapping[str, tuple[str, str]] | None = None,
        name: str | None = None,
    ) -> tuple[str, str]:
        """Register a unit; returns (stage, unit id)."""
        identity = [stage, params, sources or {}, upstream or {}]
        unit_id = name or hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:20]
        units = self.plan.units[stage]
        if unit_id not in units:
            stamps = self.stamps.get(stage, {})
            units[unit_id] = Unit(
                stage=stage,
                id=unit_id,
                label=label,
                route=_hash64(route),
                params=params,
                sources=sources or {},
                upstream=upstream or {},
                stamp=stamps.get(unit_id, stamps.get("*", "")),
            )
        return stage, unit_id

    def add_row(self, row: Row) -> None:
        """All units one pair needs."""
        image, video = row.reference_image, row.driving_video
        names = (image.rsplit("/", 1)[-1], video.rsplit("/", 1)[-1])
        pair_label = f"{names[0]} + {names[1]}"
        # Pair stages share one route, so that their shards nest and need few upstream shards.
        route = f"{image}\0{video}"
        parameters = row.parameters
        ingest_image = self.add("ingest", names[0], image, {}, sources={"media": image})
        ingest_video = self.add("ingest", names[1], video, {}, sources={"media": video})
        pose_image = self.add(
            "pose",
            f"{names[0]} @{parameters.resolution}",
            image,
            {"kind": "image", "resolution": parameters.resolution},
            sources={"image": image},
            upstream={"media": ingest_image},
        )
        reading = ("sample_stride", "start_frame", "max_frames")
        pose_video = self.add(
            "pose",
            names[1],
            video,
            {"kind": "video", **{name: getattr(parameters, name) for name in reading}},
            sources={"video": video},
            upstream={"media": ingest_video},
        )
        features = self.config.correspondence
        correspondence = self.add(
            "correspondence",
            f"{names[0]} @{parameters.resolution}",
            image,
            {
                "resolution": parameters.resolution,
                "person": self.config.motion.person,
                **features.model_dump(exclude={"unet_batch"}),
            },
            sources={"image": image},
            upstream={"media": ingest_image, "pose": pose_image},
        )
        motion = self.add(
            "motion",
            pair_label,
            route,
            {
                "resolution": parameters.resolution,
                "compat": parameters.compat,
                **self.config.motion.model_dump(exclude={"decoder_batch"}),
            },
            sources={"image": image},
            upstream={
                "media": ingest_image,
                "reference_pose": pose_image,
                "driving_pose": pose_video,
            },
        )
        sample = self._add_sample(row, pair_label, route, ingest_image, motion, correspondence)
        mux = self._add_mux(row, route, sample, ingest_video)
        self.plan.pairs.append(
            Pair(
                row,
                {
                    "ingest_image": ingest_image[1],
                    "ingest_video": ingest_video[1],
                    "pose_image": pose_image[1],
                    "pose_video": pose_video[1],
                    "correspondence": correspondence[1],
                    "motion": motion[1],
                    "sample": sample[1],
                    "mux": mux[1],
                },
            )
        )

    def _add_sample(
        self,
        row: Row,
        label: str,
        route: str,
        image: tuple[str, str],
        motion: tuple[str, str],
        correspondence: tuple[str, str],
    ) -> tuple[str, str]:
        read = (
            *("resolution", "seed", "tile_size", "tile_overlap", "num_inference_steps"),
            *("guidance_min", "guidance_max", "noise_aug_strength", "compat"),
            *("motion_guidance", "correspondence_guidance"),
        )
        upstream = {"media": image, "motion": motion}
        if row.parameters.correspondence_guidance:
            upstream["correspondence"] = correspondence
        sampling = self.config.sampling
        return self.add(
            "sample",
            label,
            route,
            {
                **{name: getattr(row.parameters, name) for name in read},
                "precision": sampling.precision,
                "noise": sampling.noise,
            },
            sources={"image": row.reference_image},
            upstream=upstream,
        )

    def _add_mux(
        self, row: Row, route: str, sample: tuple[str, str], video: tuple[str, str]
    ) -> tuple[str, str]:
        encoding = self.config.encoding
        read = ("fps", "decode_chunk_size", "seed", "compat", "sample_stride", "start_frame")
        return self.add(
            "mux",
            row.pair_id,
            route,
            {
                "pair_id": row.pair_id,
                "precision": self.config.sampling.precision,
                **{name: getattr(row.parameters, name) for name in read},
                **encoding.model_dump(),
            },
            sources={"video": row.driving_video} if encoding.copy_audio else {},
            upstream={"sample": sample, **({"media": video} if encoding.copy_audio else {})},
            name=row.pair_id,
        )


def build_plan(
    config: Config,
    manifest: Manifest,
    *,
    stamps: Mapping[str, Mapping[str, str]] | None = None,
    previous_counts: Mapping[str, int] | None = None,
) -> Plan:
    """All units of a run and the number of shards of each stage.

    Args:
        config: The run's configuration.
        manifest: Its checked rows.
        stamps: Stage to unit id (or ``*``) to token, renewed by forced re-runs.
        previous_counts: Shards per stage of the last plan of this run.
    """
    planner = _Planner(config, stamps or {})
    for row in manifest.rows:
        planner.add_row(row)
    plan = planner.plan
    for stage in STAGES:
        wanted = shard_count(
            len(plan.units[stage]),
            config.shards.seconds_per_unit.get(stage, 1.0),
            config.shards.minutes,
            config.shards.maximum,
        )
        plan.shard_counts[stage] = settle_shard_count(wanted, (previous_counts or {}).get(stage))
    return plan


def upstream_shards(plan: Plan, units: Iterable[Unit]) -> dict[str, list[str]]:
    """Stage to sorted names of the shards that hold what these units read."""
    needed: dict[str, set[str]] = {}
    for unit in units:
        for stage, unit_id in unit.upstream.values():
            needed.setdefault(stage, set()).add(plan.shard_of(stage, unit_id))
    return {stage: sorted(names) for stage, names in sorted(needed.items())}
