"""The Croissant description of a data set (JSON-LD with the Responsible-AI fields)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from dispose_stages.atomic import readable_json, write_text
from dispose_stages.errors import ExportError
from dispose_stages.export.about import About
from dispose_stages.export.dataset import SAMPLES, DataSet
from dispose_stages.export.facts import licences_of
from dispose_stages.export.settings import Layout
from dispose_stages.store.files import file_digest

CROISSANT = "croissant.json"
_PARQUET = "application/x-parquet"
_CONFORMS_TO = ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
_SCHEMA = "https://schema.org/"
_TEXT, _VIDEO = f"{_SCHEMA}Text", f"{_SCHEMA}VideoObject"


def write_croissant(folder: Path, dataset: DataSet) -> None:
    """Write the description, checked by the library that defines it.

    Raises:
        ExportError: The library finds fault with it.
    """
    import mlcroissant as mlc

    try:
        metadata = _metadata(mlc, folder, dataset)
    except mlc.ValidationError as error:
        raise ExportError(f"the Croissant description is not valid: {error}") from None
    write_text(folder / CROISSANT, readable_json(metadata.to_json()))


def _metadata(mlc: Any, folder: Path, dataset: DataSet) -> Any:
    about = About.model_validate(dataset.settings.about)
    files, record_sets = _media(mlc, dataset)
    return mlc.Metadata(
        ctx=mlc.Context(conforms_to=_CONFORMS_TO[:1]),
        conforms_to=_CONFORMS_TO,
        name=dataset.name,
        description=about.description,
        license=[about.licence] if about.licence else licences_of(dataset.records) or None,
        url=about.url or None,
        version=about.version,
        cite_as=about.citation or None,
        creators=[mlc.Organization(name=name) for name in about.creators],
        date_published=about.date_published or None,
        keywords=["synthetic", "human image animation", "video"],
        distribution=[_samples_file(mlc, folder), *files],
        record_sets=[_samples(mlc, dataset.schema), *record_sets],
        data_collection=(
            "Generated: each video is made from one reference image and one driving video by "
            f"DisPose ({dataset.bundle} checkpoints). All parameters stand in every record."
        ),
        data_collection_type=["Others"],
        data_collection_missing_data=(
            f"{len(dataset.omissions)} of {dataset.pairs} pairs are left out; left_out.csv and the "
            "data card say which and why."
        ),
        data_preprocessing_protocol=[
            "References are cut and scaled to the size of the video; driving poses are aligned to "
            "the reference."
        ],
        data_annotation_protocol=["Poses are found by a whole-body pose network, not by people."],
        machine_annotation_tools=["DWPose (YOLOX, RTMPose)"],
        data_use_cases=[about.intended_use, f"Not intended: {about.not_intended_for}"],
        data_biases=[about.biases],
        data_limitations=[about.known_failures],
        data_social_impact=(
            "Videos of persons that were never recorded can deceive; every file and record is "
            "marked as synthetic."
        ),
        personal_sensitive_information=[about.personal_information],
        data_release_maintenance_plan=about.maintenance or None,
    )


def _samples_file(mlc: Any, folder: Path) -> Any:
    path = folder / SAMPLES
    return mlc.FileObject(
        id=SAMPLES,
        name=SAMPLES,
        description="A record per sample.",
        content_url=SAMPLES,
        content_size=f"{path.stat().st_size} B",
        encoding_formats=[_PARQUET],
        sha256=file_digest(path),
    )


def _samples(mlc: Any, schema: pa.Schema) -> Any:
    fields = [
        mlc.Field(
            id=f"samples/{column.name}",
            name=column.name,
            data_types=[_data_type(column.type)],
            source=mlc.Source(file_object=SAMPLES, extract=mlc.Extract(column=column.name)),
        )
        for column in schema
    ]
    description = "A record per sample, without its media."
    return mlc.RecordSet(id="samples", name="samples", description=description, fields=fields)


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return f"{_SCHEMA}Boolean"
    if pa.types.is_integer(kind):
        return f"{_SCHEMA}Integer"
    return f"{_SCHEMA}Float" if pa.types.is_floating(kind) else _TEXT


def _media(mlc: Any, dataset: DataSet) -> tuple[list[Any], list[Any]]:
    """The files that hold the media, and record sets over those that the library can read.

    Videos in folders and tar shards are listed only: mlcroissant decodes no video files, and keeps
    extracted archives under their relative names, where those of two data sets meet.
    """
    match dataset.settings.layout:
        case Layout.PARQUET:
            return [_file_set(mlc, "shards", "data/*.parquet", _PARQUET)], [_videos(mlc)]
        case Layout.VIDEOFOLDER:
            ending = dataset.records[0]["file"].rsplit(".", 1)[-1]
            return [_file_set(mlc, "videos", f"data/*/*/*.{ending}", f"video/{ending}")], []
        case Layout.WEBDATASET:
            return [_tar_shard(mlc, name, *facts) for name, facts in dataset.files.items()], []


def _file_set(mlc: Any, name: str, includes: str, encoding: str) -> Any:
    return mlc.FileSet(id=name, name=name, includes=[includes], encoding_formats=[encoding])


def _tar_shard(mlc: Any, name: str, digest: str, size: int) -> Any:
    return mlc.FileObject(
        id=name,
        name=name,
        content_url=name,
        content_size=f"{size} B",
        encoding_formats=["application/x-tar"],
        sha256=digest,
    )


def _videos(mlc: Any) -> Any:
    key = mlc.Source(file_set="shards", extract=mlc.Extract(column="key"))
    content = mlc.Source(
        file_set="shards",
        extract=mlc.Extract(column="video"),
        transforms=[mlc.Transform(json_path="bytes")],
    )
    fields = [
        mlc.Field(id="videos/key", name="key", data_types=[_TEXT], source=key),
        mlc.Field(id="videos/video", name="video", data_types=[_VIDEO], source=content),
    ]
    description = "The video of every sample, an encoded file."
    return mlc.RecordSet(id="videos", name="videos", description=description, fields=fields)
