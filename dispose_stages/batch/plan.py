"""Rows → units → shards: what a run consists of, known before anything runs.

A *unit* is the smallest thing a stage computes and commits. Its identity is what it is made from
(stage, parameters the stage reads and no others, sources, upstream units), so rows that agree in
these share it. Units go to *shards* (jobs) by a stable hash, so adding rows changes few shards;
the number of shards is a power of two, so a shard of a finer stage lies inside one of a coarser.

Planning reads the manifest only: no media, no weights, no torch. What a unit's artifact is called
(its *key*) follows from content digests and is worked out by the job
(`dispose_stages.batch.ledger`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dispose_stages.atomic import canonical_json
from dispose_stages.batch.manifest import Manifest, Row
from dispose_stages.batch.sharding import (
    ROUTE_BITS,
    settle_shard_count,
    shard_count,
    shard_name,
)
from dispose_stages.config import STAGES, Config

_SHARED_BITS = 4
"""Leading bits of a clip's route that it shares with its motion unit, in a run of many clips."""
_MANY_CLIPS = 64


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


_UnitRef = tuple[str, str]
"""Stage and id of a unit."""


class _Planner:
    """Collects units while walking over the rows; equal identities meet in one unit."""

    def __init__(
        self, config: Config, stamps: Mapping[str, Mapping[str, str]], *, many_clips: bool
    ) -> None:
        self.config = config
        self.stamps = stamps
        self.many_clips = many_clips
        self.plan = Plan()

    def add_row(self, row: Row) -> None:
        """All units one pair needs."""
        image = self._add_ingest(row.reference_image, "image")
        video = self._add_ingest(row.driving_video, "video")
        units = {
            "ingest_image": image,
            "ingest_video": video,
            "pose_image": self._add_image_pose(row, image),
            "pose_video": self._add_video_pose(row, video),
        }
        if row.parameters.correspondence_guidance:
            units["correspondence"] = self._add_correspondence(row, image, units["pose_image"])
        units["motion"] = self._add_motion(row, units)
        units["sample"] = self._add_sample(row, units)
        units["mux"] = self._add_mux(row, units)
        self.plan.pairs.append(Pair(row, {role: unit_id for role, (_, unit_id) in units.items()}))

    def _add_ingest(self, path: str, kind: str) -> _UnitRef:
        return self._add("ingest", _name(path), path, {"kind": kind}, sources={"media": path})

    def _add_image_pose(self, row: Row, image: _UnitRef) -> _UnitRef:
        path, resolution = row.reference_image, row.parameters.resolution
        return self._add(
            "pose",
            f"{_name(path)} @{resolution}",
            path,
            {"kind": "image", "resolution": resolution},
            sources={"image": path},
            upstream={"media": image},
        )

    def _add_video_pose(self, row: Row, video: _UnitRef) -> _UnitRef:
        path = row.driving_video
        reading = _read(row, "sample_stride", "start_frame", "max_frames")
        return self._add(
            "pose",
            _name(path),
            path,
            {"kind": "video", **reading},
            sources={"video": path},
            upstream={"media": video},
        )

    def _add_correspondence(self, row: Row, image: _UnitRef, pose: _UnitRef) -> _UnitRef:
        path, resolution = row.reference_image, row.parameters.resolution
        features = self.config.correspondence.model_dump(exclude={"unet_batch"})
        return self._add(
            "correspondence",
            f"{_name(path)} @{resolution}",
            path,
            {"resolution": resolution, "person": self.config.motion.person, **features},
            sources={"image": path},
            upstream={"media": image, "pose": pose},
        )

    def _add_motion(self, row: Row, units: Mapping[str, _UnitRef]) -> _UnitRef:
        settings = self.config.motion.model_dump(exclude={"decoder_batch"})
        return self._add(
            "motion",
            _clip_label(row),
            _clip_route(row),
            {**_read(row, "resolution", "compat"), **settings},
            sources={"image": row.reference_image},
            upstream={
                "media": units["ingest_image"],
                "reference_pose": units["pose_image"],
                "driving_pose": units["pose_video"],
            },
        )

    def _add_sample(self, row: Row, units: Mapping[str, _UnitRef]) -> _UnitRef:
        params = {
            **_read(row, "resolution", "seed", "tile_size", "tile_overlap", "num_inference_steps"),
            **_read(row, "guidance_min", "guidance_max", "noise_aug_strength", "compat"),
            **_read(row, "motion_guidance", "correspondence_guidance"),
            "precision": self.config.sampling.precision,
            "noise": self.config.sampling.noise,
        }
        upstream = {"media": units["ingest_image"], "motion": units["motion"]}
        if "correspondence" in units:
            upstream["correspondence"] = units["correspondence"]
        return self._add(
            "sample",
            _clip_label(row),
            _clip_route(row),
            params,
            sources={"image": row.reference_image},
            upstream=upstream,
            spread=canonical_json(params),
        )

    def _add_mux(self, row: Row, units: Mapping[str, _UnitRef]) -> _UnitRef:
        encoding = self.config.encoding
        upstream, sources = {"sample": units["sample"]}, {}
        if encoding.copy_audio:
            upstream["media"], sources["video"] = units["ingest_video"], row.driving_video
        read = ("fps", "decode_chunk_size", "seed", "compat", "sample_stride", "start_frame")
        sample = self.plan.units["sample"][units["sample"][1]]
        return self._add(
            "mux",
            row.pair_id,
            sample.route,
            {
                "pair_id": row.pair_id,
                "precision": self.config.sampling.precision,
                **_read(row, *read),
                **encoding.model_dump(),
            },
            sources=sources,
            upstream=upstream,
            name=row.pair_id,
        )

    def _add(
        self,
        stage: str,
        label: str,
        route: str | int,
        params: Mapping[str, Any],
        *,
        sources: Mapping[str, str],
        upstream: Mapping[str, _UnitRef] | None = None,
        name: str | None = None,
        spread: str = "",
    ) -> _UnitRef:
        identity = [stage, params, sources, upstream or {}]
        unit_id = name or hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:20]
        units = self.plan.units[stage]
        if unit_id not in units:
            stamps = self.stamps.get(stage, {})
            units[unit_id] = Unit(
                stage=stage,
                id=unit_id,
                label=label,
                route=route if isinstance(route, int) else self._route(route, spread),
                params=params,
                sources=sources,
                upstream=upstream or {},
                stamp=stamps.get(unit_id, stamps.get("*", "")),
            )
        return stage, unit_id

    def _route(self, route: str, spread: str) -> int:
        """Where a unit goes; units that differ in `spread` only are near or far from one another.

        In a run of many clips they share the leading bits, so that a shard of `sample` waits for
        one shard of `motion`. In a run of few clips with many seeds each, that would crowd them
        into few shards, and they are spread instead.
        """
        if not spread:
            return _hash64(route)
        own = _hash64(f"{route}\0{spread}")
        if not self.many_clips:
            return own
        low = ROUTE_BITS - _SHARED_BITS
        return (_hash64(route) >> low << low) | (own >> _SHARED_BITS)


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _clip_label(row: Row) -> str:
    return f"{_name(row.reference_image)} + {_name(row.driving_video)}"


def _clip_route(row: Row) -> str:
    return f"{row.reference_image}\0{row.driving_video}"


def _read(row: Row, *names: str) -> dict[str, Any]:
    return {name: getattr(row.parameters, name) for name in names}


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
    clips = len({_clip_route(row) for row in manifest.rows})
    planner = _Planner(config, stamps or {}, many_clips=clips >= _MANY_CLIPS)
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
