"""C2PA: a signed statement inside the video that it is synthetic, and what it was made from."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dispose_stages import __version__
from dispose_stages.errors import ExportError
from dispose_stages.export.selection import Record
from dispose_stages.store.provenance import DIGITAL_SOURCE_TYPE

ASSERTION = "org.dispose.provenance"
ALGORITHMS = ("es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519")


@dataclass(frozen=True, slots=True)
class Certificate:
    """The user's certificate chain and private key, PEM files.

    Attributes:
        chain: Signing certificate first.
        key: Never copied, logged or recorded.
        algorithm: One of `ALGORITHMS`.
    """

    chain: Path
    key: Path
    algorithm: str = "es256"


class Signer:
    """Signs videos; opens the certificate when the first one comes.

    Args:
        certificate: With its key.
    """

    def __init__(self, certificate: Certificate) -> None:
        self._certificate = certificate

    @cached_property
    def _signer(self) -> Any:
        import c2pa

        certificate = self._certificate
        try:
            return c2pa.Signer.from_info(
                c2pa.C2paSignerInfo(
                    certificate.algorithm,
                    certificate.chain.read_bytes(),
                    certificate.key.read_bytes(),
                    None,
                )
            )
        except (OSError, ValueError, c2pa.C2paError) as error:
            raise ExportError(f"the certificate {certificate.chain} cannot sign: {error}") from None

    def __call__(self, video: bytes, container: str, record: Record) -> bytes:
        """The video with its signed statement.

        Raises:
            ExportError: The certificate cannot be used, or not for this kind of file.
        """
        import c2pa

        if container != "mp4":
            raise ExportError(f"C2PA knows no signatures in {container}; encode as mp4 to sign")
        signed = io.BytesIO()
        try:
            with c2pa.Builder(json.dumps(statement(record))) as builder:
                builder.sign(self._signer, "video/mp4", io.BytesIO(video), signed)
        except c2pa.C2paError as error:
            raise ExportError(f"{record['pair_id']} cannot be signed: {error}") from None
        return signed.getvalue()


def statement(record: Record) -> dict[str, Any]:
    """What is signed."""
    told = ("pair_id", "reference_digest", "driver_digest", "video_digest", "key_mux")
    made = {"action": "c2pa.created", "digitalSourceType": DIGITAL_SOURCE_TYPE}
    return {
        "claim_generator_info": [{"name": "dispose-stages", "version": __version__}],
        "title": record["pair_id"],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [made]}},
            {"label": ASSERTION, "data": {"synthetic": True, **{n: record[n] for n in told}}},
        ],
    }
