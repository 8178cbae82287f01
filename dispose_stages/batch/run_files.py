"""Small files about a whole run that planning and set-up leave for its jobs and for readers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from dispose_stages.atomic import canonical_json, write_text
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.manifest import Row, RowProblem
from dispose_stages.config import Config, Parameters, load_config
from dispose_stages.errors import StoreError
from dispose_stages.records import parse, read_bytes, read_record, record_text

_PAIRS = ("dispose-pairs", 2)
_WEIGHTS = ("dispose-weights", 2)


def read_run_config(layout: RunLayout) -> Config:
    """The configuration a run was planned with.

    Raises:
        StoreError: There is no such run, or it was planned by another version of this program.
    """
    try:
        return load_config(parse(read_bytes(layout.config)))
    except FileNotFoundError:
        raise StoreError(f"{layout.root} holds no planned run (no {layout.config.name})") from None
    except (OSError, ValueError) as error:
        what = "damaged or of another version of this program; the next `dispose run` writes it"
        raise StoreError(f"{layout.config} is {what}: {error}") from None


def pairs_text(rows: Iterable[Row], rejects: Iterable[RowProblem] = ()) -> Iterator[str]:
    """The text of ``plan/pairs.json`` in pieces: every row of the manifest, one to a line.

    Args:
        rows: That can run.
        rejects: Why the others cannot.
    """
    form, version = _PAIRS
    yield f'{{"format":"{form}","version":{version},"pairs":[\n'
    yield from _lines(_row_texts(rows))
    yield '\n],"rejects":[\n'
    yield from _lines(canonical_json(asdict(problem)) for problem in rejects)
    yield "\n]}\n"


def _lines(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        yield f",\n{text}" if number else text


def _row_texts(rows: Iterable[Row]) -> Iterator[str]:
    """Canonical JSON of every row; the parameters of rows that share them are written once."""
    last, parameters = None, ""
    for row in rows:
        if row.parameters is not last:
            last, parameters = row.parameters, canonical_json(row.parameters.model_dump())
        before = {
            "pair_id": row.pair_id,
            "line": row.line,
            "driving_video": row.driving_video,
            "extra": row.extra,
            **({"held": True} if row.held else {}),
        }
        after = {
            "reference_image": row.reference_image,
            "reference_frame": row.reference_frame,
            "truth_video": row.truth_video,
            "units": row.units,
        }
        yield (
            f'{canonical_json(before)[:-1]},"parameters":{parameters},{canonical_json(after)[1:]}'
        )


def read_rejects(layout: RunLayout) -> list[RowProblem]:
    """Why rows of the manifest were set aside.

    Raises:
        StoreError: The file cannot be used.
    """
    return read_record(
        layout.pairs,
        *_PAIRS,
        lambda content: [RowProblem(**each) for each in content["rejects"]],
        sealed=False,
    )


def read_pairs(layout: RunLayout) -> list[Row]:
    """All rows that can run.

    Raises:
        StoreError: The file cannot be used.
    """
    known: dict[str, Parameters] = {}  # most rows have those of others

    def parameters(values: Mapping[str, Any]) -> Parameters:
        text = repr(values)
        if text not in known:
            known[text] = Parameters.model_validate(values)
        return known[text]

    def rows(content: dict[str, Any]) -> list[Row]:
        return [
            Row(**{**pair, "parameters": parameters(pair["parameters"])})
            for pair in content["pairs"]
        ]

    return read_record(layout.pairs, *_PAIRS, rows, sealed=False)


def read_stage_weights(layout: RunLayout, stage: str) -> str:
    """Digest over the checkpoint files a stage loads; empty for a stage without any.

    Raises:
        StoreError: The weights have not been fingerprinted, or those of the stage were missing.
    """
    if stage == "ingest":
        return ""
    try:
        digests = read_weights(layout)
    except StoreError as error:
        raise StoreError(f"{error} (`dispose fingerprint` writes it)") from None
    if stage not in digests:
        raise StoreError(
            f"checkpoint files of {stage} were missing when {layout.weights} was written; run the "
            "pipeline again, which says which"
        )
    return digests[stage]


def read_weights(layout: RunLayout) -> dict[str, str]:
    """Stage to the digest over its checkpoint files, where they were all there.

    Raises:
        StoreError: The weights have not been fingerprinted.
    """
    return read_record(layout.weights, *_WEIGHTS, lambda content: dict(content["stages"]))


def forget_damaged_weights(layout: RunLayout) -> None:
    """Remove the digests if they cannot be trusted, so that their rule makes them anew."""
    try:
        read_weights(layout)
    except StoreError:
        layout.weights.unlink(missing_ok=True)


def write_stage_weights(layout: RunLayout, bundle: str, digests: Mapping[str, str]) -> None:
    """Write what `read_stage_weights` reads."""
    write_text(layout.weights, record_text(*_WEIGHTS, {"bundle": bundle, "stages": digests}))
