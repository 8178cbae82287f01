from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from dispose_stages.batch.manifest import RowProblem
from dispose_stages.report.content import (
    PairReport,
    PairStatus,
    Picture,
    RunReport,
    StageTiming,
    Video,
)
from dispose_stages.report.html import duration, render, script_json

HOSTILE = "</script><script>alert('x')</script><img src=x onerror=alert(1)>&\u2028\"'"
DOT = Picture(b"webp", "image/webp", 3, 4, "a dot")


def pair(number: int = 0, status: PairStatus = PairStatus.DELIVERED, **other: Any) -> PairReport:
    """A row with everything in it."""
    values: dict[str, Any] = {
        "pair_id": f"pair{number}",
        "line": number + 2,
        "reference_image": "a.png",
        "driving_video": "b.mp4",
        "status": status,
        "parameters": {"seed": str(number), "fps": "15.0"},
        "keys": {"motion": "ab" * 20},
        "seconds": {"motion": 2.5, "sample": 60.0},
        "reference": DOT,
    }
    if status is PairStatus.DELIVERED:
        values["video"] = Video(f"videos/pair{number}.mp4", 12, 15.0, 96, 64, 2_345_678)
    if status is PairStatus.FAILED:
        values |= {"reason": "person_lost", "message": "nobody is there", "failed_in": "motion"}
    return PairReport(**{**values, **other})


def report(*pairs: PairReport, **other: Any) -> RunReport:
    """A run of some pairs."""
    values: dict[str, Any] = {"run": "spring", "version": "1.2.3", "bundle": "official"}
    return RunReport(**{**values, **other}, pairs=pairs)


class _Page(HTMLParser):
    """Collects elements, text and the embedded rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)
        self.rows = json.loads(self.scripts[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.text += data


def test_rows_carry_everything() -> None:
    """A row's data hold status, parameters, keys, times, picture and video."""
    (row, other) = _Page(render(report(pair(0), pair(1)))).rows
    assert (row["id"], row["status"], row["line"]) == ("pair0", "delivered", 2)
    assert row["own"] == [["seed", "0"]]
    assert row["keys"] == [["motion", "ab" * 20]]
    assert row["time"] == "1 min 02 s"
    assert row["reference"][1:] == [3, 4, "a dot"]
    assert base64.b64decode(row["reference"][0].split(",")[1]) == b"webp"
    assert row["result"]["src"] == row["result"]["link"] == "videos/pair0.mp4"
    assert "12 frames" in row["result"]["text"]
    assert "2.3 MB" in row["result"]["text"]
    assert "reason" not in row
    assert other["own"] == [["seed", "1"]]


def test_rows_carry_the_manifests_other_columns() -> None:
    """Empty cells are left out; the script searches them as name=value."""
    (row,) = _Page(render(report(pair(0, extra={"caption": HOSTILE, "split": ""})))).rows
    assert row["extra"] == [["caption", HOSTILE]]


def test_parameters_of_all_pairs_are_said_once() -> None:
    """What does not differ stands above the rows."""
    page = _Page(render(report(pair(0), pair(1))))
    assert "Parameters of all pairs (1)" in page.text
    assert re.search(r"fps\s*15\.0", page.text)


def test_nothing_from_a_manifest_becomes_markup() -> None:
    """Hostile text in every field is text, in the page and in the data."""
    names = ("pair_id", "reference_image", "driving_video", "reason", "message")
    fields = dict.fromkeys(names, HOSTILE)
    hostile = pair(
        0, PairStatus.FAILED, **fields, parameters={HOSTILE: HOSTILE}, keys={"x": HOSTILE}
    )
    clean = _Page(render(report(pair(0, PairStatus.FAILED), rejects=[RowProblem(1, "a", "b")])))
    page = _Page(
        render(
            report(
                hostile,
                run=HOSTILE,
                version=HOSTILE,
                configuration=HOSTILE,
                rejects=[RowProblem(1, HOSTILE, HOSTILE, HOSTILE, HOSTILE)],
            )
        )
    )
    tags = [tag for tag, _ in page.elements if tag not in {"details", "summary", "pre", "section"}]
    expected = [t for t, _ in clean.elements if t not in {"details", "summary", "pre", "section"}]
    assert tags.count("script") == expected.count("script") == 2
    assert tags.count("img") == 0
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.rows[0]["message"] == HOSTILE
    assert HOSTILE in page.text


def test_the_page_needs_nothing_else() -> None:
    """No address of a style, script, picture or font outside the page."""
    text = render(report(pair(0, video=Video("v/a b?#.mp4", 1, 1.0, 2, 2, 3, b"data"))))
    page = _Page(text)
    for tag, attributes in page.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "img", "video"}
        assert not {"src", "srcset", "background"} & set(attributes)
        assert attributes.get("href", "#").startswith("#")
    assert "@import" not in text
    assert "url(" not in text
    (row,) = page.rows
    assert base64.b64decode(row["result"]["src"].removeprefix("data:video/mp4;base64,")) == b"data"
    assert row["result"]["link"] == "v/a%20b%3F%23.mp4"


@pytest.mark.parametrize(
    ("bundle", "said"),
    [("tiny", "Tiny random weights"), ("small", "small demonstration bundle"), ("official", "")],
)
def test_weights_that_are_not_the_published_ones_are_announced(bundle: str, said: str) -> None:
    """Noise by design is called so; real results are not."""
    text = render(report(pair(), bundle=bundle))
    assert said in text
    assert ("was used" in text or "were used" in text) is bool(said)


def test_failures_come_first() -> None:
    """Failures stand before the pairs, the commonest reason first, and long lists are cut."""
    pairs = [
        pair(0, PairStatus.FAILED, reason="rare"),
        *(pair(n, PairStatus.FAILED, reason="common") for n in range(1, 251)),
        pair(300),
        pair(301, PairStatus.PENDING),
    ]
    text = render(report(*pairs))
    page = _Page(text)
    assert text.index('id="failures-title"') < text.index('id="pairs-title"')
    assert text.index("common <b>250</b>") < text.index("rare <b>1</b>")
    assert "The first 200 of 251" in page.text
    assert "1 of 253 rows delivered" in page.text
    assert "251 failed" in page.text
    assert "1 pending" in page.text
    assert len(page.rows) == 253
    assert 'id="failures-title"' not in render(report(pair()))


def test_missing_pictures_are_announced() -> None:
    """A page that holds pictures of some rows only says so."""
    assert "pictures of the first 1 pairs" in render(report(pair(0), pair(1), pictured=1))
    assert "pictures of the first" not in render(report(pair(0), pair(1), pictured=2))


def test_times() -> None:
    """Totals, medians and the share of the longest stage."""
    timings = [
        StageTiming("pose", 2, 1, 0, [1.0, 2.0, 9.0], 0.5),
        StageTiming("sample", 1, 0, 3, [], 0.0),
    ]
    page = _Page(render(report(pair(), timings=timings)))
    assert "12.0 s" in page.text
    assert "2.00 s" in page.text
    widths = [a.get("style") for tag, a in page.elements if tag == "span" and a.get("style")]
    assert "width:100.0%" in widths
    assert "width:0.0%" in widths


def test_an_empty_run() -> None:
    """A run without pairs has a page."""
    assert _Page(render(report())).rows == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 s"),
        (9.994, "9.99 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (3599.7, "1 h 00 min"),
        (7620, "2 h 07 min"),
        (None, "\N{EN DASH}"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    """Seconds in words, also around the full minute and hour."""
    assert duration(seconds) == text


def test_script_json_is_json() -> None:
    """Escaping changes the text, not the value."""
    text = script_json([HOSTILE, {"a": 1}])
    assert json.loads(text) == [HOSTILE, {"a": 1}]
    assert "<" not in text


@pytest.mark.parametrize("pairs", [(), (pair(),), (pair(reference_image=HOSTILE),)])
def test_the_page_allows_its_own_script_and_no_other(pairs) -> None:
    """The policy names the digest of what stands between the tags, and nothing inline at large."""
    text = render(report(*pairs))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert allowed["script-src"] == f"'sha256-{digest}'"
    assert allowed["default-src"] == allowed["base-uri"] == allowed["form-action"] == "'none'"


def test_nothing_in_the_page_needs_what_the_policy_forbids() -> None:
    """No handler attributes, no addresses of scripts, no evaluation of text."""
    text = render(report(pair()))
    assert not re.search(r"<[a-z][^>]*\son[a-z]+\s*=", text)
    assert not re.search(r"<script[^>]*\ssrc", text)
    assert not re.search(r"javascript:|\beval\(|new Function", text)
