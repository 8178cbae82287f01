"""Errors a user can act on.

::

    DisposeError                    one clear line and exit status 1, no traceback
    ├── ConfigError (ValueError)    the configuration is wrong
    ├── ManifestError (ValueError)  the manifest is wrong; lists every bad row at once
    ├── WeightsError (OSError)      checkpoint files are missing, unsafe or do not fit
    ├── DeviceError (RuntimeError)  the asked-for device or provider is not there
    ├── StoreError (OSError)        the artifact store
    │   ├── ArtifactMissingError (KeyError)
    │   └── ArtifactCorruptError
    ├── NewerVersionError           a file of a newer version of this program
    └── UnitError                   one unit cannot be computed; carries a typed `Reason`

Anything that is not a `DisposeError` is a defect or an accident of the machine and keeps its
traceback, with a note naming the unit (`BaseException.add_note`).
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a unit has no artifact; written to ledgers, ``failures.csv`` and the report."""

    MEDIA_MISSING = "media_missing"
    MEDIA_EMPTY = "media_empty"
    MEDIA_UNREADABLE = "media_unreadable"
    MEDIA_UNSUPPORTED = "media_unsupported"
    MEDIA_TOO_LARGE = "media_too_large"
    MEDIA_CRASHED = "media_crashed"
    MEDIA_TIMEOUT = "media_timeout"
    SOURCE_CHANGED = "source_changed"
    NO_FRAMES = "no_frames"
    NO_PERSON_REFERENCE = "no_person_reference"
    NO_SINGLE_PERSON_FRAME = "no_single_person_frame"
    POSE_TOO_SPARSE = "pose_too_sparse"
    ALIGNMENT_POOR = "alignment_poor"
    RETARGET_UNFIT = "retarget_unfit"
    PERSON_LOST = "person_lost"
    OUT_OF_MEMORY = "oom"
    NUMERIC = "not_finite"
    ENCODE_FAILED = "encode_failed"
    INTERNAL = "internal"


class WarningCode(StrEnum):
    """What a user should look at although there is a result; in ledgers, index, status, report."""

    NO_PERSON_REFERENCE = "no_person_reference"
    FIT_WITHOUT_PERSON = "fit_without_person"
    ALIGNED_AS_OFFICIAL = "aligned_as_official"
    DAMAGED_VIDEO = "damaged_video"
    SCENE_CUTS = "scene_cuts"


class DisposeError(Exception):
    """Base of every error that is shown to the user as one line."""


class ConfigError(DisposeError, ValueError):
    """The configuration does not describe a run that can be done."""


class ManifestError(DisposeError, ValueError):
    """The manifest as a whole cannot be used (single bad rows are set aside instead)."""


class WeightsError(DisposeError, OSError):
    """Checkpoint files are missing, unsafe to read, or do not fit the networks."""


class DeviceError(DisposeError, RuntimeError):
    """The configured device, execution provider or precision is not available here."""


class StoreError(DisposeError, OSError):
    """The artifact store cannot be read or written."""


class NewerVersionError(DisposeError):
    """A file was written by a newer version of this program; this one must leave it alone.

    No `StoreError`: what is damaged or absent is made again, over what is there.
    """

    def __init__(self, what: str, found: int, known: int) -> None:
        remedy = "use that version, or another folder"
        super().__init__(
            f"{what}: written by a newer version of this program (format {found}; this one knows "
            f"{known}); {remedy}"
        )


class ExportError(DisposeError, ValueError):
    """What is to be exported, or how, does not describe a data set that can be made."""


class ArtifactMissingError(StoreError, KeyError):
    """No artifact with that key is in the store."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        """The message itself."""
        return str(self.args[0]) if self.args else ""


class ArtifactCorruptError(StoreError):
    """An artifact is there but its content does not match its digest or format."""


class UnitError(DisposeError):
    """One unit cannot be computed; all others go on.

    Attributes:
        reason: The typed reason, stable over releases.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
