from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from dispose_stages.batch.manifest import RowProblem
from dispose_stages.batch.outcomes import PairStatus
from dispose_stages.errors import Reason
from dispose_stages.explanations import REASONS
from dispose_stages.missing import MISSING, Missing
from dispose_stages.report.content import StageTiming
from dispose_stages.report.data import script_json
from dispose_stages.report.html import with_code
from dispose_stages.report.rows import video_data
from tests.report.runs import PREVIEW, pair, write_page

HOSTILE = "</script><script>alert('x')</script><img src=x onerror=alert(1)>&\u2028\"'"


def test_rows_carry_everything(tmp_path) -> None:
    """A row's data hold status, parameters, scores, times, pictures and video."""
    page = write_page(tmp_path, pair(0), pair(1), reference="report_files/r.webp", preview=PREVIEW)
    row, other = page.rows
    assert (row["id"], row["status"], row["line"]) == ("pair0", "delivered", 2)
    assert row["own"] == [["seed", "0"]]
    assert row["times"][1] == ["sample", "1 min 00 s"]
    assert dict(zip(page.data["metrics"], row["scores"], strict=True))["psnr"] == 20.0
    assert row["facts"] == [["driver_score", 0.75]]
    assert row["reference"] == "report_files/r.webp"
    assert row["preview"]["panels"] == [["driver", 0, 180, 320], ["result", 180, 180, 320]]
    assert row["result"]["link"] == "videos/pair0.mp4"
    assert "12 frames" in row["result"]["text"]
    assert "2.3 MB" in row["result"]["text"]
    assert "reason" not in row
    assert other["own"] == [["seed", "1"]]


def test_every_column_of_the_manifest_can_be_asked_for(tmp_path) -> None:
    """Also those that this program does not know, under their own names."""
    page = write_page(tmp_path, pair(0, row={"extra": {"caption": HOSTILE, "split": ""}}), pair(1))
    assert page.rows[0]["extra"] == [["caption", HOSTILE]]
    assert page.column("caption") == [HOSTILE, ""]
    assert page.column("psnr") == [20.0, 21.0]
    assert page.column("seed") == ["0", "1"]
    names = [name for name, _, _ in page.data["columns"]]
    assert "fps" not in names, "the same for all"
    assert {"pair_id", "status", "reason", "driver_score", "split"} <= set(names)


def test_parameters_of_all_pairs_are_said_once(tmp_path) -> None:
    """What does not differ stands above the rows."""
    page = write_page(tmp_path, pair(0), pair(1))
    assert "Parameters of all pairs (1)" in page.text
    assert re.search(r"fps\s*15\.0", page.text)


def test_nothing_from_a_manifest_becomes_markup(tmp_path) -> None:
    """Hostile text in every field is text, in the page and in the data."""
    cells = dict.fromkeys(("pair_id", "reference_image", "driving_video"), HOSTILE)
    hostile = pair(
        0,
        PairStatus.FAILED,
        row={**cells, "extra": {HOSTILE: HOSTILE, "__proto__": HOSTILE}},
        failure=dict.fromkeys(("reason", "message"), HOSTILE),
        log=HOSTILE,
        parameters={HOSTILE: HOSTILE},
        missing={HOSTILE: HOSTILE},
    )
    bad = [RowProblem(1, HOSTILE, HOSTILE, HOSTILE, HOSTILE)]
    texts = dict.fromkeys(("run", "folder", "version", "configuration"), HOSTILE)
    clean = write_page(tmp_path, pair(0, PairStatus.FAILED), rejects=[RowProblem(1, "a", "b")])
    page = write_page(tmp_path, hostile, rejects=bad, **texts, warned=[(HOSTILE, 1)])
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == [tag for tag, _ in clean.elements].count("script") == 2
    assert tags.count("img") == 0
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.rows[0]["message"] == HOSTILE
    assert page.column("__proto__") == [HOSTILE]
    assert HOSTILE in page.text


def test_blocks_of_a_large_run_lie_beside_the_page(tmp_path) -> None:
    """They are scripts of text, named after their content; what an older page used is removed."""
    old = tmp_path / "report_files" / "rows0-0123456789ab.js"
    old.parent.mkdir()
    old.write_text("old")
    page = write_page(tmp_path, *(pair(n, row={"extra": {"note": HOSTILE}}) for n in range(250)))
    assert not page.data["inline"]
    assert [row["id"] for row in page.rows] == [f"pair{n}" for n in range(250)]
    assert page.column("note") == [HOSTILE] * 250
    for link in page.data["links"].values():
        text = (tmp_path / link).read_text(encoding="utf-8")
        assert hashlib.sha256(text.encode()).hexdigest()[:12] in link
        assert "<" not in text


def test_a_page_hardly_grows_with_the_pairs(tmp_path) -> None:
    """Less than two bytes a pair, so that it stays below 2 MB far beyond 100,000."""
    sizes = {}
    for count in (1000, 3000):
        folder = tmp_path / str(count)
        folder.mkdir()
        pairs = (pair(n, row={"extra": {"caption": f"take {n}"}}) for n in range(count))
        sizes[count] = len(write_page(folder, *pairs).source.encode())
    assert sizes[1000] < 200_000
    assert sizes[3000] - sizes[1000] < 2 * 2000


def test_the_page_needs_nothing_from_elsewhere(tmp_path) -> None:
    """No address outside the run's folder, and every one is relative."""
    video = video_data("videos/a b?#.mp4", {"frames": 1})
    page = write_page(tmp_path, pair(0, video=video), pair(1, PairStatus.FAILED, log="logs/a b"))
    for tag, attributes in page.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "img", "video"}
        assert not {"src", "srcset", "background"} & set(attributes)
        assert attributes.get("href", "#").startswith(("#", "logs/"))
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", page.source)
    assert page.rows[0]["result"]["link"] == "videos/a%20b%3F%23.mp4"
    assert page.rows[1]["log"] == "logs/a%20b"


@pytest.mark.parametrize(
    ("bundle", "said"),
    [("tiny", "Tiny random weights"), ("small", "small demonstration bundle"), ("official", "")],
)
def test_weights_that_are_not_the_published_ones_are_announced(tmp_path, bundle, said) -> None:
    """Noise by design is called so; real results are not."""
    text = write_page(tmp_path, pair(), bundle=bundle).source
    assert said in text
    assert ("was used" in text or "were used" in text) is bool(said)


def test_failures_are_grouped_by_reason(tmp_path) -> None:
    """The commonest first, each with what it means, what to do, and the first of its pairs."""
    pairs = [
        pair(0, PairStatus.FAILED, failure={"reason": "no_frames"}, log="logs/pose/0-of-1.log"),
        *(pair(n, PairStatus.FAILED) for n in range(1, 251)),
        pair(300),
        pair(301, PairStatus.PENDING),
        pair(302, PairStatus.HELD),
    ]
    page = write_page(tmp_path, *pairs)
    text = page.source
    assert text.index('id="pairs-title"') < text.index('id="failures-title"')
    assert text.index('data-reason="person_lost"') < text.index('data-reason="no_frames"')
    for reason in (Reason.PERSON_LOST, Reason.NO_FRAMES):
        assert REASONS[reason].meaning.replace("`", "") in page.text
        assert REASONS[reason].remedy.replace("`", "") in page.text
        assert f"dispose retry results/spring --reason {reason}" in page.text
    assert "the first 20 of 250" in page.text
    assert 'href="logs/pose/0-of-1.log"' in text
    assert "1 of 253 rows delivered" in page.text
    assert "251 failed" in page.text
    assert "1 pending, 1 held back by the pilot." in page.text
    shares = [a["width"] for tag, a in page.elements if tag == "rect" and a.get("class")]
    assert shares == ["1", "251", "0", "1"]
    assert len(page.rows) == 254
    assert 'id="failures-title"' not in write_page(tmp_path, pair()).source


def test_a_reason_of_another_version_stands_by_itself(tmp_path) -> None:
    """What this program cannot explain is shown all the same."""
    page = write_page(tmp_path, pair(0, PairStatus.FAILED, failure={"reason": "of_tomorrow"}))
    assert "of_tomorrow" in page.text
    assert "What to do" not in page.text


def test_distributions_and_missing_values(tmp_path) -> None:
    """Bins, medians and both ends by variant; metrics without a value say why."""
    pairs = [
        *(pair(n, missing={"lpips": "no_truth"}) for n in range(4)),
        pair(4, variant="base", scores={"psnr": 10.0}),
        pair(5, scores={}, missing={"psnr": "no_truth"}),
    ]
    page = write_page(tmp_path, *pairs)
    found = {entry["name"]: entry for entry in page.data["distributions"]}
    psnr = found["psnr"]
    assert (psnr["low"], psnr["high"], psnr["better"]) == (10.0, 23.0, "higher")
    assert {name: sum(counts) for name, counts in psnr["counts"].items()} == {"base": 1, "full": 4}
    assert psnr["medians"] == {"base": 10.0, "full": 21.5}
    assert psnr["missing"] == {"no_truth": 1}
    assert (psnr["worst"][0], psnr["best"][0]) == (4, 3)
    assert "driver_score" in found
    assert re.search(r"Without a single value:\s*lpips \(no_truth 4\)", page.text)
    assert "Why values are missing" in page.text
    assert MISSING[Missing.NO_TRUTH].meaning in page.text
    assert "Why values are missing" not in write_page(tmp_path, pair()).text


def test_variants_stand_side_by_side(tmp_path) -> None:
    """Groups come with the rows they are made of."""
    groups = [("a + b", {"full": 0, "base": 1}), ("without pictures", {"full": 0, "base": 1})]
    page = write_page(tmp_path, pair(0), pair(1), comparable=groups, compared=[PREVIEW])
    (found,) = page.data["comparisons"]
    assert found["rows"] == [["full", 0], ["base", 1]]
    assert 'id="grid"' in page.source
    assert 'id="grid"' not in write_page(tmp_path, pair(0)).source


def test_times(tmp_path) -> None:
    """Totals, medians and the share of the longest stage."""
    timings = [
        StageTiming("pose", 2, 1, 0, [1.0, 2.0, 9.0], 0.5),
        StageTiming("sample", 1, 0, 3, [], 0.0),
    ]
    page = write_page(tmp_path, pair(), timings=timings)
    assert "12.0 s" in page.text
    assert "2.00 s" in page.text
    bars = [a["width"] for tag, a in page.elements if tag == "rect" and "." in a["width"]]
    assert bars == ["100.0", "0.0"]


def test_an_empty_run(tmp_path) -> None:
    """A run without pairs has a page."""
    assert write_page(tmp_path).rows == []


def test_code_in_a_remedy_is_code() -> None:
    """What stands between backticks; all else is text."""
    assert with_code("set `a<b`, <i>") == "set <code>a&lt;b</code>, &lt;i&gt;"


def test_script_json_is_json() -> None:
    """Escaping changes the text, not the value."""
    text = script_json([HOSTILE, {"a": 1}])
    assert json.loads(text) == [HOSTILE, {"a": 1}]
    assert "<" not in text


@pytest.mark.parametrize("pairs", [(), (pair(),), (pair(row={"reference_image": HOSTILE}),)])
def test_the_page_allows_its_own_script_and_style_and_no_other(tmp_path, pairs) -> None:
    """The policy names the digests of what stands between the tags, and nothing inline at large."""
    text = write_page(tmp_path, *pairs).source
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))

    def digest(tag: str) -> str:
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    assert allowed["script-src"] == f"{digest('script')} 'strict-dynamic'"
    assert allowed["style-src"] == digest("style")
    assert allowed["default-src"] == allowed["base-uri"] == allowed["form-action"] == "'none'"
    assert "http" not in policy


def test_nothing_in_the_page_needs_what_the_policy_forbids(tmp_path) -> None:
    """No handler or style attributes, no addresses of scripts, no evaluation of text."""
    text = write_page(tmp_path, pair(), pair(1, PairStatus.FAILED)).source
    assert not re.search(r"<[a-z][^>]*\s(on[a-z]+|style)\s*=", text)
    assert not re.search(r"<script[^>]*\ssrc", text)
    assert not re.search(r"javascript:|\beval\(|new Function|innerHTML|insertAdjacentHTML", text)
