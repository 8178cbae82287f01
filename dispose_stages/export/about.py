"""What the user says about a data set; stands in its card and in its Croissant description."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dispose_stages.config_section import Section, describe_validation_error
from dispose_stages.config_text import read_config_file
from dispose_stages.errors import ExportError


class About(Section):
    """The file of ``--about``; what is left out has a neutral text or is absent."""

    name: str = ""
    description: str = (
        "Videos of persons, animated from single reference images with the motion of driving "
        "videos. Every video is synthetic."
    )
    creators: tuple[str, ...] = ()
    url: str = ""
    licence: str = ""
    """Of the data set as a whole; default: what its samples state."""
    citation: str = ""
    date_published: str = ""
    version: str = "1.0.0"
    intended_use: str = (
        "Research on human image animation: training and evaluating models of human motion and "
        "appearance, and detectors of synthetic media."
    )
    not_intended_for: str = (
        "Passing the videos off as recordings, identifying persons, or animating anybody who has "
        "not agreed to it."
    )
    known_failures: str = (
        "Faces and hands that are small or hidden lose detail; fast movements blur; parts that the "
        "reference does not show are invented; identity drifts over long clips."
    )
    biases: str = (
        "Appearance and movement are those of the chosen references and drivers, and of the data "
        "that the networks were trained on; neither is a sample of any population."
    )
    personal_information: str = (
        "References and drivers may show real persons. The columns licence, consent and source_url "
        "say on what grounds; a source can be taken down by its digest."
    )
    maintenance: str = ""


def read_about(path: Path) -> Mapping[str, Any]:
    """The file's values, checked.

    Raises:
        ConfigError: It cannot be read.
        ExportError: It holds something unknown.
    """
    try:
        return About.model_validate(read_config_file(path)).model_dump(
            exclude_unset=True, mode="json"
        )
    except ValidationError as error:
        where, what = describe_validation_error(error, About)[0]
        raise ExportError(f"{path}: {where}: {what}") from None
