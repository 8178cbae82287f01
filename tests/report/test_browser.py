"""The report as a browser shows it, opened from a disk.

Needs an installed Chromium; what can be said of the page without one is in the other tests.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright import sync_api

from dispose_stages.batch.outcomes import PairStatus
from dispose_stages.config_encoding import Encoding
from dispose_stages.report.panels import Preview, still
from dispose_stages.store.video_writer import VideoWriter
from tests.report.runs import pair, write_page

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")

FRAMES = 12
PREVIEW = Preview(
    "report_files/steps.mp4",
    15.0,
    FRAMES,
    1,
    tuple((name, 64 * n, 64, 96) for n, name in enumerate(("driver", "truth", "result"))),
    7.5,
)
HOSTILE = '</script><img src=x onerror="window.hacked=1"><b>bold</b>\''


def grey_of(frame: int) -> int:
    """What tells a frame of the preview from all others."""
    return 20 * frame + 10


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    sync_api.expect.set_options(timeout=30_000)  # the machine may be busy
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reports of 260 pairs (blocks beside the page) and of 6 (all inside), with one preview."""
    root = tmp_path_factory.mktemp("reports")
    for name, count in (("large", 260), ("small", 6)):
        folder = root / name
        folder.mkdir()
        extra = {"caption": HOSTILE, "__proto__": "odd", "split": "train"}
        pairs = [pair(n, row={"extra": extra | {"take": f"take {n % 7}"}}) for n in range(count)]
        pairs[1] = pair(1, PairStatus.FAILED, failure={"message": HOSTILE})
        pairs[2] = pair(
            2, PairStatus.FAILED, failure={"reason": "no_frames"}, warnings=["fit_without_person"]
        )
        pairs[3] = pair(3, variant="base", row={"extra": {"split": "test"}})
        compared = Preview(
            **{n: getattr(PREVIEW, n) for n in ("link", "fps", "frames", "step")},
            panels=(("full", 0, 64, 96), ("base", 64, 64, 96)),
        )
        write_page(
            folder,
            *pairs,
            comparable=[("a + b", {"full": 0, "base": 3})],
            compared=[compared],
            reference="report_files/r.webp",
            preview=PREVIEW,
            warned=[("fit_without_person", 1)],
        )
        write_pictures(folder / "report_files")
    return root


def write_pictures(folder: Path) -> None:
    """A video whose panels are grey, ever lighter; of the result, a little darker."""
    folder.mkdir(exist_ok=True)
    (folder / "r.webp").write_bytes(still(np.full((96, 64, 3), 90, np.uint8)))
    encoding = Encoding(crf=1, preset="veryfast")
    with VideoWriter(folder / "steps.mp4", (96, 192), 15.0, encoding, threads=1) as writer:
        for frame in range(FRAMES):
            image = np.full((96, 192, 3), grey_of(frame), np.uint8)
            image[:, 128:] -= 10
            writer.write(image)


class Opened:
    """A page, with everything that it asked for and complained of."""

    def __init__(self, browser: Any, path: Path, **context: Any) -> None:
        given = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | context
        self.context = browser.new_context(**given)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.absolute().as_uri())
        self.shows("#rows .pair")

    def shows(self, selector: str, text: str | None = None) -> None:
        """Wait until something is there."""
        found = self.page.locator(selector).first
        sync_api.expect(found).to_be_visible()
        if text is not None:
            sync_api.expect(found).to_have_text(text)

    def tells(self, count: int, first: int = 1) -> None:
        """Wait until so many pairs are found."""
        last = min(count, first + 24)
        text = f"{first}\N{EN DASH}{last} of {count}" if count else ""
        sync_api.expect(self.page.locator("#shown")).to_have_text(text)

    def until(self, expression: str) -> None:
        """Wait until something holds; the page's policy forbids to do so inside it."""
        for _ in range(200):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(expression)

    def ids(self) -> list[str]:
        """Names on the page, in order."""
        names: list[str] = self.page.locator("#rows h3").all_inner_texts()
        return names

    def grey(self, selector: str) -> float:
        """Mean brightness of the middle of what an element shows."""
        self.page.locator(selector).first.scroll_into_view_if_needed()
        image = Image.open(io.BytesIO(self.page.locator(selector).first.screenshot())).convert("L")
        width, height = image.size
        middle = image.crop((width // 3, height // 3, 2 * width // 3, 2 * height // 3))
        return float(np.asarray(middle).mean())


@pytest.fixture
def large(browser: Any, run: Path) -> Iterator[Opened]:
    """The large report."""
    opened = Opened(browser, run / "large/report.html")
    yield opened
    opened.context.close()


@pytest.fixture
def small(browser: Any, run: Path) -> Iterator[Opened]:
    """The small one."""
    opened = Opened(browser, run / "small/report.html")
    yield opened
    opened.context.close()


def test_it_opens_from_a_disk_and_asks_for_nothing_else(large: Opened, run: Path) -> None:
    """Blocks, pictures and videos come from beside the page; the policy forbids nothing it does."""
    for part in ("failures", "scores", "ends", "variants", "time"):
        large.page.locator(f"#{part}").scroll_into_view_if_needed()
    large.shows("#grid canvas")
    assert len(large.ids()) == 25
    assert large.requests
    beside = (run / "large").as_uri() + "/"
    assert not [url for url in large.requests if not url.startswith((beside, "data:image/png"))]
    assert not large.complaints


def test_nothing_hostile_becomes_markup(large: Opened) -> None:
    """What a manifest says is shown as it says it."""
    large.shows("#rows .message")
    assert HOSTILE in large.page.locator("#rows").inner_text()
    assert large.page.evaluate("window.hacked") is None
    assert large.page.locator("b", has_text="bold").count() == 0


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("pair25", 11),
        ("PAIR25 seed=250", 1),
        ("split=test", 1),
        ("psnr>270", 9),
        ("psnr>=270 psnr<272", 2),
        ('take="take 3"', 36),
        ('"take 3" pair3', 2),
        ("__proto__=odd", 257),
        ("constructor=odd", 0),
        ("reason=person_lost", 1),
        ("nobody", 1),
        ("unheard of", 0),
        ("seed>257", 2),
    ],
)
def test_pairs_are_found(large: Opened, text: str, count: int) -> None:
    """By words anywhere, by columns that this program does not know, by numbers."""
    large.page.locator("#find").fill(text)
    large.tells(count)


def test_pairs_are_chosen(large: Opened) -> None:
    """By status, warning, reason and column; a failure's button shows its pairs."""
    for selector, value, count in (
        ("#status", "status=failed", 2),
        ("#status", "warnings", 1),
        ("#status", "", 260),
        ("#reason", "no_frames", 1),
        ("#reason", "", 260),
    ):
        large.page.locator(selector).select_option(value)
        large.tells(count)
    large.page.locator("#column").select_option("split")
    sync_api.expect(large.page.locator("#values option")).to_have_count(2)
    large.page.locator("#value").fill("test")
    large.tells(1)
    large.page.locator("#column").select_option("")
    large.page.locator("button.only[data-reason=person_lost]").click()
    large.tells(1)
    assert large.ids() == ["pair1"]


def test_every_column_sorts(large: Opened) -> None:
    """Cards by the list, the table by its heads; rows without a value come last either way."""
    large.page.locator("#sort").select_option("psnr")
    large.page.locator("#order").select_option("down")
    large.shows("#rows h3", "pair259")
    large.page.locator("#view").select_option("table")
    large.shows("table.pairs th[aria-sort=descending]", "psnr ↓")
    large.page.get_by_role("button", name="psnr").click()
    large.shows("table.pairs th[aria-sort=ascending]", "psnr ↑")
    sync_api.expect(large.page.locator("table.pairs tbody th").first).to_have_text("pair0")
    large.page.get_by_role("button", name="Next").click()
    for _ in range(9):
        large.page.keyboard.press("n")
    large.tells(260, first=251)
    rows = large.page.locator("table.pairs tbody th")
    sync_api.expect(rows.nth(-2)).to_have_text("pair1")
    sync_api.expect(rows.nth(-1)).to_have_text("pair2")
    large.page.locator("table.pairs tbody th button").last.click()
    large.shows("dialog h3", "pair2")


def test_what_arrives_late_does_not_draw_over_what_is_newer(large: Opened) -> None:
    """Pages turned faster than their rows arrive: the last one asked for stays."""
    large.page.evaluate(
        """() => {
          const arrive = window.disposeBlock;
          window.late = [];
          window.disposeBlock = (key, text) =>
            key === "rows1" ? window.late.push(() => arrive(key, text)) : arrive(key, text);
        }"""
    )
    for _ in range(10):
        large.page.keyboard.press("n")
    large.tells(260, first=251)
    large.until("window.late.length === 1")
    large.page.evaluate("() => window.late[0]()")
    large.page.wait_for_timeout(100)
    large.tells(260, first=251)
    assert large.ids()[0] == "pair250"


def test_frames_are_stepped_by_number(small: Opened) -> None:
    """All panels show the frame whose number is told, by keys and by the slider."""
    page = small.page
    player = page.locator("#rows .player").first
    told = player.locator("output")
    sync_api.expect(told).to_have_text("frame 0 of 11")
    page.keyboard.press("j")
    sync_api.expect(player).to_be_focused()
    for keys, frame in ((["ArrowRight"] * 3, 3), (["End"], 11), (["ArrowLeft"], 10), (["Home"], 0)):
        for key in keys:
            page.keyboard.press(key)
        sync_api.expect(told).to_have_text(f"frame {frame} of 11")
        in_step(small, frame)
    player.locator("input[type=range]").fill("7")
    sync_api.expect(told).to_have_text("frame 7 of 11")
    in_step(small, 7)


def test_the_frame_that_was_chosen_is_told_whatever_arrives_late(small: Opened) -> None:
    """A video that has just been opened announces its first frame while it goes to another."""
    player = small.page.locator("#rows .player").first
    player.locator("input[type=range]").fill("7")
    in_step(small, 7)
    video = "document.querySelector('#rows .player video')"
    small.page.evaluate(f"{video}.dispatchEvent(new Event('loadeddata'))")
    sync_api.expect(player.locator("output")).to_have_text("frame 7 of 11", timeout=1000)


def in_step(opened: Opened, frame: int) -> None:
    """All panels of the first pair show a frame; the difference is four times what it is."""
    opened.until("!document.querySelector('.player video').seeking")
    opened.page.wait_for_timeout(200)
    expected = {"driver": grey_of(frame), "truth": grey_of(frame), "result": grey_of(frame) - 10}
    for name, grey in expected.items():
        assert abs(opened.grey(f"#rows canvas[aria-label='pair0: {name}']") - grey) < 6, name
    far = opened.grey("#rows canvas[aria-label='pair0: difference of truth and result']")
    assert abs(far - 40) < 14


def test_panels_play_in_step(small: Opened) -> None:
    """Wherever playing is paused, all panels show the same frame, and its number is told."""
    player = small.page.locator("#rows .player").first
    player.get_by_role("button", name="Play").click()
    small.until("document.querySelector('#rows .player output').textContent !== 'frame 0 of 11'")
    player.get_by_role("button", name="Pause").click()
    small.page.wait_for_timeout(300)
    frame = int(player.locator("output").inner_text().split()[1])
    in_step(small, frame)


def test_only_what_is_in_view_plays(browser: Any, run: Path) -> None:
    """Where motion is welcome, it begins by itself and ends out of view."""
    opened = Opened(browser, run / "small/report.html", reduced_motion="no-preference")
    playing = "[...document.querySelectorAll('#rows video')].map((video) => !video.paused)"
    opened.until(f"{playing}[0]")
    opened.page.locator("#configuration").scroll_into_view_if_needed()
    opened.until(f"!{playing}.some(Boolean)")
    opened.context.close()


def test_a_page_that_was_moved_alone_still_tells(browser: Any, run: Path, tmp_path: Path) -> None:
    """Of a small run: rows and numbers; where pictures were, it says what is missing."""
    shutil.copy(run / "small/report.html", tmp_path / "report.html")
    opened = Opened(browser, tmp_path / "report.html")
    assert len(opened.ids()) == 6
    opened.shows("#rows .gone", "The preview is not beside this page.")
    opened.context.close()
    shutil.copy(run / "large/report.html", tmp_path / "report.html")
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    sync_api.expect(page.locator("#rows")).to_contain_text("is not beside this page")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_no_serious_barrier(browser: Any, run: Path, width: int, scheme: str) -> None:
    """Neither in cards nor in the table, with everything unfolded; nothing sticks out sideways."""
    axe = Axe()
    opened = Opened(
        browser,
        run / "small/report.html",
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        bypass_csp=True,  # to let the examiner in
    )
    opened.page.locator("#grid").scroll_into_view_if_needed()
    opened.shows("#grid canvas")
    for view in ("cards", "table"):
        opened.page.locator("#view").select_option(view)
        opened.page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
        opened.shows("#rows .player" if view == "cards" else "table.pairs")
        found = axe.run(opened.page).response["violations"]
        assert not [v["id"] for v in found if v["impact"] in {"serious", "critical"}]
        assert opened.page.evaluate("document.documentElement.scrollWidth") == width
    opened.context.close()
