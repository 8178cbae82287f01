from __future__ import annotations

import datetime as dt
import io
import json

import pyarrow.parquet as pq
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dispose_stages.errors import ExportError
from dispose_stages.export.plan import plan_export
from dispose_stages.export.publish import publish
from dispose_stages.export.settings import ExportSettings, Layout
from dispose_stages.export.signing import ASSERTION, Certificate, Signer
from dispose_stages.store.provenance import DIGITAL_SOURCE_TYPE
from dispose_stages.store.video import VideoReader
from tests.export.finished_run import FRAMES, crossed
from tests.export.test_export import contents


def certificate(name, key, issuer, issuer_key, authority):
    """One certificate as the C2PA rules want it."""
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    usage = dict.fromkeys(
        (
            *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("encipher_only", "decipher_only"),
        ),
        False,
    )
    builder = (
        x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=36500))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, key_cert_sign=authority, crl_sign=authority, **usage
            ),
            critical=True,
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    if not authority:
        extended = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(extended, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


@pytest.fixture(scope="module")
def signed_by(tmp_path_factory):
    """A certificate made for the test, with its authority."""
    folder = tmp_path_factory.mktemp("certificate")
    names = [
        x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, name),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test"),
            ]
        )
        for name in ("authority", "signer")
    ]
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in names]
    authority = certificate(names[0], keys[0], names[0], keys[0], True)
    signer = certificate(names[1], keys[1], names[0], keys[0], False)
    pem = serialization.Encoding.PEM
    (folder / "chain.pem").write_bytes(signer.public_bytes(pem) + authority.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        keys[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return Certificate(folder / "chain.pem", folder / "key.pem")


def read_statement(video):
    """What the library's own reader makes of a video: its verdict and the signed statement."""
    import c2pa

    with c2pa.Reader("video/mp4", io.BytesIO(video)) as reader:
        content = json.loads(reader.json())
    manifest = content["manifests"][content["active_manifest"]]
    return content["validation_state"], {a["label"]: a["data"] for a in manifest["assertions"]}


@pytest.fixture
def run(tmp_path):
    return crossed(tmp_path, 1, 1)


def test_exported_videos_carry_a_valid_signature(run, tmp_path, signed_by):
    """It says synthetic and what the video was made from, and breaks with the video."""
    settings = ExportSettings(Layout.VIDEOFOLDER, signed=True)
    plan = plan_export(run.run_dir, settings)
    publish(run.run_dir, plan, tmp_path / "d", certificate=signed_by)
    path = tmp_path / "d/data/train/00000/p0_0.mp4"
    verdict, statements = read_statement(path.read_bytes())
    assert verdict == "Valid"
    (action,) = statements["c2pa.actions.v2"]["actions"]
    assert (action["action"], action["digitalSourceType"]) == ("c2pa.created", DIGITAL_SOURCE_TYPE)
    (record,) = pq.read_table(tmp_path / "d/samples.parquet").to_pylist()
    told = statements[ASSERTION]
    assert told.pop("synthetic") is True
    assert told == {name: record[name] for name in told}
    assert {"pair_id", "reference_digest", "driver_digest"} <= told.keys()
    with VideoReader(path) as video:
        assert video.frame_count == FRAMES
    assert "C2PA signature" in (tmp_path / "d/README.md").read_text()
    broken = bytearray(path.read_bytes())
    broken[broken.rindex(b"mdat") + 20] ^= 1
    assert read_statement(bytes(broken))[0] == "Invalid"
    key = signed_by.key.read_text()
    for name in contents(tmp_path / "d"):
        assert key[40:80].encode() not in (tmp_path / "d" / name).read_bytes()


def test_signed_exports_continue_too(run, tmp_path, signed_by):
    """A second try keeps the shards of the first, signatures included."""
    plan = plan_export(run.run_dir, ExportSettings(Layout.WEBDATASET, signed=True))
    publish(run.run_dir, plan, tmp_path / "d", certificate=signed_by)
    before = contents(tmp_path / "d")
    publish(run.run_dir, plan, tmp_path / "d", certificate=signed_by)
    assert contents(tmp_path / "d") == before


def test_what_cannot_be_signed_is_said(tmp_path, signed_by):
    """A container without signatures, a file that is no video, a key that is none."""
    names = ("pair_id", "reference_digest", "driver_digest", "video_digest", "key_mux")
    record = dict.fromkeys(names, "x")
    with pytest.raises(ExportError, match="no signatures in mkv"):
        Signer(signed_by)(b"", "mkv", record)
    with pytest.raises(ExportError, match="x cannot be signed"):
        Signer(signed_by)(b"no video", "mp4", record)
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing")
    with pytest.raises(ExportError, match="cannot sign"):
        Signer(Certificate(signed_by.chain, wrong))(b"", "mp4", record)
