"""The pictures of docs/pages.md: every page with what the tests' walkers leave behind.

``python -m tests.collector.web.pictures`` writes docs/pages/*.png. It needs Chromium, and Pillow, which comes with
matplotlib.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from cmnas_edge.sighting import Gap
from tests.collector import walks
from tests.collector.browser import Browser
from tests.collector.people import SPOOL
from tests.collector.process import Process

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "pages"
_MOVED = """document.getElementById('slider').focus(); for (let i = 0; i < 5; i += 1) document.getElementById('slider')
    .dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowLeft', bubbles: true }))"""
# Somebody decides, and the page shows it beside what changed by itself.
_DECIDED = """document.querySelectorAll('.lane .name')[0].click(); setTimeout(() => {
    document.getElementById('person-reason').value = 'the red coat, seen by me';
    [...document.querySelectorAll('#person .act')].find((b) => b.textContent === 'All one person').click();
    setTimeout(() => { document.getElementById('person').close();
        document.getElementById('changes').scrollIntoView(); }, 600); }, 300)"""
# Name: the page, its window, and what to do there before the picture is taken.
PICTURES: dict[str, tuple[str, dict[str, int | bool], str]] = {
    "people": ("", {}, "0"),
    "person": ("", {}, "document.querySelectorAll('.lane .name')[1].click()"),
    "changes": ("", {"height": 300}, _DECIDED),
    "site": ("site", {}, "0"),
    "search": ("search", {}, "document.querySelector('#results .act').click()"),
    "calibration": ("calibration", {"height": 1120}, _MOVED),
    "health": ("health", {}, "0"),
    "people-dark": ("", {"dark": True}, "0"),
    "site-dark": ("site", {"dark": True}, "0"),
    "people-phone": ("", {"width": 360, "height": 1040}, "0"),
    "site-phone": ("site", {"width": 360, "height": 1040}, "0"),
    "search-phone": ("search", {"width": 360, "height": 1040}, "document.querySelector('#results .act').click()"),
}


def main() -> int:
    """Take them all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Process(Path(folder) / "collector") as collector:
        walks.calibrate(collector.folder / "bundle")
        tokens = walks.send(collector, walks.walks(40, time.time() - 5))
        collector.send(tokens["yard"], [Gap(SPOOL, 9000, 9004, 5)])
        for words in (("add", "ada", "--role", "operator", "--no-password"), ("link", "ada")):
            said = collector.command("person", *words, "--config", str(collector.config)).stdout
        with Browser() as browser:
            browser.open(f"{collector.url}/log-in/{said.strip().rpartition('/')[2]}")
            browser.wait("document.querySelector('.who-am-i')")
            for name, (page, window, act) in PICTURES.items():
                browser.open(f"{collector.url}/{page}", **{"width": 1280, "height": 1000, **window}, still=True)  # type: ignore[arg-type]
                browser.wait("document.getElementById('health-text').textContent.startsWith('Storing')")
                browser.see("new Promise((done) => setTimeout(done, 1500))")
                browser.see(f"{act}; 0")
                browser.see("new Promise((done) => setTimeout(done, 1200))")
                _write(FOLDER / f"{name}.png", browser.picture(Path(folder) / "page.png"))
    return 0


def _write(path: Path, data: bytes) -> None:
    """Keep a picture with 256 colours: half the bytes, and hardly another picture."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.quantize(256, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
