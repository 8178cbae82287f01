"""The data card: a ``README.md`` that people and the Hugging Face hub read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import yaml

from dispose_stages.export.about import About
from dispose_stages.export.dataset import METADATA, DataSet
from dispose_stages.export.facts import (
    licences_of,
    score_facts,
    shared_between_splits,
    split_facts,
    stated,
    values_of,
)
from dispose_stages.export.selection import LICENCE_COLUMNS, LeftOut
from dispose_stages.export.settings import Extra, Layout
from dispose_stages.wording import one_line

CARD = "README.md"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))
_HUB_LICENCES = re.compile(r"(cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-[234]\.0|apache-2\.0|mit|odc-by|pddl)")
_MAX_LISTED = 20
_FILES = {
    "video": "`KEY.mp4` (or `.mkv`): the video as it was delivered",
    "reference": (
        "`KEY.reference.png`: the reference image, cut and scaled to the size of the video, as the "
        "networks saw it"
    ),
    "pose": (
        "`KEY.pose.npz`: the driver's pose aligned to the reference, pixels of the video: "
        "`keypoints` (frames, 133, 2), NaN where the person was not found, `scores`, "
        "`frame_indices` in the driving video, `reference_keypoints`, `reference_scores`, `names` "
        "(COCO-WholeBody); of runs with the scores `pose`, `detected_keypoints` and "
        "`detected_scores`, found again in the video, NaN where nobody was found"
    ),
    Extra.TRAJECTORIES: (
        "`KEY.trajectories.npz`: `points` (frames + 1, 18, 2) of the body in OpenPose order, "
        "pixels, row 0 the reference; `visible`"
    ),
    Extra.FIELD: (
        "`KEY.field.npz`: `flow` (frames, 2, 192, 192) from the reference to each frame, pixels "
        "of a square of 384; `scale` to pixels of the video"
    ),
    Extra.FRAMES: "`KEY.frames.zip`: the frames before the codec, as PNG files",
}


def card_text(dataset: DataSet) -> str:
    """The whole card; equal data sets give equal texts."""
    about = About.model_validate(dataset.settings.about)
    header = yaml.safe_dump(_header(dataset, about), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{header}---",
        f"# {dataset.name}",
        about.description,
        "**All videos are synthetic**; their metadata and every record say so.",
        *_content(dataset),
        *_selection(dataset),
        *_origin(dataset),
        *_scores(dataset),
        *_use(about),
    ]
    return "\n\n".join(parts) + "\n"


def _header(dataset: DataSet, about: About) -> dict[str, object]:
    licence = about.licence or "; ".join(licences_of(dataset.records))
    known = licence.lower().replace(" ", "-")
    size = next((name for most, name in _SIZES if len(dataset.records) < most), "n>1M")
    return {
        "pretty_name": dataset.name,
        **(
            {"license": known}
            if _HUB_LICENCES.fullmatch(known)
            else {"license": "other", "license_name": licence or "not stated"}
        ),
        "tags": ["synthetic", "human-image-animation", "video"],
        "task_categories": ["image-to-video"],
        "size_categories": [size],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": split, "path": _pattern(dataset.settings.layout, split)}
                    for split in dataset.splits
                ],
            }
        ],
    }


def _pattern(layout: Layout, split: str) -> str | list[str]:
    if layout is Layout.VIDEOFOLDER:
        return [f"data/{split}/{METADATA}", f"data/{split}/**/*.m[pk][4v]"]
    return f"data/{split}-*.{'tar' if layout is Layout.WEBDATASET else 'parquet'}"


def _content(dataset: DataSet) -> Iterator[str]:
    yield "## Content"
    yield _table(
        ("split", "samples", "identities", "drivers", "frames", "minutes"),
        (
            (s.name, s.samples, s.identities, s.drivers, s.frames, f"{s.seconds / 60:.1f}")
            for s in split_facts(dataset.records)
        ),
    )
    shared = {
        c: n for c, n in shared_between_splits(dataset.records, dataset.settings).items() if n
    }
    if shared:
        said = ", ".join(f"{count} of `{column}`" for column, count in shared.items())
        yield f"**Splits share groups**: {said} are in more than one split."
    else:
        columns = ", ".join(f"`{column}`" for column in dataset.settings.groups)
        yield f"No value of {columns} is in more than one split."
    wanted = ("video", "reference", "pose", *dataset.settings.extras)
    where = "as columns" if dataset.settings.layout is Layout.PARQUET else "as files"
    yield f"Each sample has, {where}:"
    yield "\n".join(f"- {_FILES[name]}" for name in wanted)
    yield (
        "`samples.parquet` has a record per sample: parameters, keys, digests of sources and "
        "video, weights, scores, and the columns of the manifest. `croissant.json` describes the "
        "same for programs. `sha256sum -c SHA256SUMS` checks every file."
    )
    if dataset.settings.signed:
        yield "Videos carry a C2PA signature; `video_digest` is that of the video before it."


def _selection(dataset: DataSet) -> Iterator[str]:
    yield "## Selection"
    counts = dataset.counts()
    yield f"{counts.pop('samples')} of the {dataset.pairs} pairs of the run are samples."
    if dataset.settings.filter:
        yield f"Filter: `{dataset.settings.filter}`"
    if dataset.settings.shares:
        shares = "/".join(f"{share:g}" for share in dataset.settings.shares.values())
        yield (
            f"Splits: {shares} of the samples, by group. Pairs whose groups fell into different "
            "splits are left out."
        )
    empty = [split for split in dataset.settings.shares if split not in dataset.splits]
    if empty:
        yield f"Without samples, for want of groups: {', '.join(empty)}."
    if counts:
        yield _table(
            ("left out", "pairs", "because"),
            ((f"`{name}`", count, LeftOut(name).meaning) for name, count in counts.items()),
        )
        yield "`left_out.csv` names them; pairs of sources that were taken down are counted only."


def _origin(dataset: DataSet) -> Iterator[str]:
    records = dataset.records
    yield "## Origin"
    yield "\n".join(f"- made by: {revision}" for revision in _distinct(records, "code_revision"))
    yield f"Checkpoints: `{dataset.bundle}`. SHA-256 over the files each stage loads:"
    yield _table(("stage", "weights"), values_of(records, "weights_").items())
    yield "Parameters:"
    yield _table(("parameter", "value"), values_of(records, "parameter_").items())
    yield "### Licence, consent and sources"
    for what in LICENCE_COLUMNS:
        values = stated(records, what)
        unsaid = len(records) - sum(values.values())
        most = values.most_common(_MAX_LISTED)
        lines = [f"- {one_line(value)}: {n} samples" for value, n in most]
        if len(values) > _MAX_LISTED:
            lines.append(f"- and {len(values) - _MAX_LISTED} more, in the records")
        if unsaid:
            lines.append(f"- **not stated**: {unsaid} samples")
        yield f"{what}:\n\n" + "\n".join(lines)
    yield "The checkpoints have licences of their own, which may restrict the use of these videos."


def _distinct(records: Sequence[dict[str, object]], column: str) -> list[str]:
    return sorted({str(record[column]) for record in records})


def _scores(dataset: DataSet) -> Iterator[str]:
    rows = [
        (s.metric, s.samples, *(f"{v:.4g}" for v in (s.mean, s.median, s.lowest, s.highest)))
        for s in score_facts(dataset.records)
    ]
    if rows:
        yield "## Scores"
        yield _table(("metric", "samples", "mean", "median", "lowest", "highest"), rows)


def _use(about: About) -> Iterator[str]:
    yield "## Use"
    for title, text in (
        ("Intended use", about.intended_use),
        ("Not intended for", about.not_intended_for),
        ("Known failures", about.known_failures),
        ("Biases", about.biases),
        ("Personal information", about.personal_information),
        ("Maintenance", about.maintenance),
        ("Citation", about.citation),
    ):
        if text:
            yield f"**{title}.** {text}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(value: object) -> str:
    """Text that neither ends a cell nor becomes markup."""
    return one_line(str(value)).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
