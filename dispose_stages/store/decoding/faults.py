"""What the decoder process says of a file that it cannot use, in our words.

What the libraries say goes to the log: it holds clock times and addresses, which would make the
ledgers of two equal runs differ.
"""

from __future__ import annotations

from dispose_stages.errors import Reason


class MediaFaultError(Exception):
    """A file cannot be used; becomes a `UnitError` with the file's name in the job.

    Attributes:
        detail: What the library said, for the log.
        missing: Index of the frame that cannot be decoded, if that is the fault.
    """

    def __init__(
        self, reason: Reason, message: str, detail: object = "", missing: int | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.detail = str(detail)
        self.missing = missing


def missing_frame(index: int, detail: object = "") -> MediaFaultError:
    """Frame `index` cannot be decoded."""
    message = f"frame {index} cannot be decoded"
    return MediaFaultError(Reason.MEDIA_UNREADABLE, message, detail, index)
