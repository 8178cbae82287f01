"""Take the picture of a report that README shows.

``python -m tests.report.picture results/benchmark_demo docs/report.webp``; needs a Chromium.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.report.test_browser import CHROMIUM


def picture(run: Path) -> Image.Image:
    """The first pairs of a report, in the middle of their motion."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
        page.goto((run / "report.html").absolute().as_uri())
        for slider in page.locator("#rows .player input[type=range]").all()[:2]:
            slider.fill(str(int(slider.get_attribute("max") or 0) * 2 // 3))
        page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        page.wait_for_timeout(1000)
        shown = page.screenshot()
        browser.close()
    return Image.open(io.BytesIO(shown))


if __name__ == "__main__":
    picture(Path(sys.argv[1])).save(sys.argv[2], quality=85, method=6)
