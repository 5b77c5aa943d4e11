"""Headless Chromium over its debugging pipe: open a page, look at it, press keys, take a picture."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-quic",
          "--disable-background-networking", "--disable-component-update", "--disable-sync",
          "--disable-dev-shm-usage", "--remote-debugging-pipe")

# Chromium drops what it is loading when the machine gets or loses a network, as other tests make and end them.
_NETWORK = "ERR_NETWORK_CHANGED"


class Elsewhere(Exception):
    """The page that was asked gave way to another before it answered."""


class Browser:
    """One page in one Chromium with a profile of its own. Errors of the page are in ``complaints``."""

    def __init__(self, *, trusting: str = "") -> None:
        """Begin.

        Args:
            trusting: A public key, by its SHA-256 in base64, whose certificates are believed, whoever signed them.
        """
        assert CHROMIUM is not None
        flags = [*_FLAGS, *([f"--ignore-certificate-errors-spki-list={trusting}"] if trusting else [])]
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        ours_in, self._send = os.pipe()
        self._receive, ours_out = os.pipe()
        # Chromium reads commands from descriptor 3 and answers on 4.
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{ours_in} 4>&{ours_out}', "bash", CHROMIUM, *flags,
             f"--user-data-dir={self._profile}"],
            pass_fds=(ours_in, ours_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(ours_in)
        os.close(ours_out)
        self._rest, self._number, self._session = b"", 0, ""
        self.complaints: list[str] = []
        self._interrupted = False
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Performance"):
            self._ask(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(30)
        os.close(self._send)
        os.close(self._receive)
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, url: str, *, width: int = 1440, height: int = 1000, dark: bool = False, still: bool = False) -> None:
        """Open a page in a window of a size, by day or by night; ``still`` for whoever wants nothing to move."""
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)
        self._ask("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
                            {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"}])
        for _ in range(5):
            self._interrupted = False
            self._ask("Page.navigate", url="about:blank")
            self._ask("Page.navigate", url=url)
            self.wait("location.href !== 'about:blank' && document.readyState === 'complete'")
            if not self._interrupted:
                return

    def see(self, expression: str) -> Any:
        """Evaluate JavaScript in the page."""
        answer = self._ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self, of: str) -> str:
        """The text that is seen of the element of an id."""
        found: str = self.see(f"document.getElementById({json.dumps(of)}).innerText")
        return found

    def wait(self, expression: str, seconds: float = 20.0) -> Any:
        """Wait until an expression is true; return it."""
        until, found = time.monotonic() + seconds, None
        while not found:
            with contextlib.suppress(Elsewhere):
                found = self.see(expression)
            assert found or time.monotonic() < until, (
                f"still not so: {expression}\n{self.see('document.body?.innerText')}")
            time.sleep(0.0 if found else 0.05)  # here, not in the page: it may lead elsewhere meanwhile
        return found

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        text = {"text": "\r"} if key == "Enter" else {}
        self._ask("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode={
            "Enter": 13, "Escape": 27, "Tab": 9}.get(key, 0), **text)
        self._ask("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 8) -> None:
        """Press the mouse at a point of the window, move it to another, and let it go."""
        self._mouse("mousePressed", *start, buttons=1)
        for step in range(1, steps + 1):
            self._mouse("mouseMoved", *(a + (b - a) * step / steps for a, b in zip(start, end, strict=True)), buttons=1)
        self._mouse("mouseReleased", *end, buttons=0)

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in a field for one."""
        found = self._ask("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")
        self._ask("DOM.setFileInputFiles", files=[str(path)], objectId=found["result"]["objectId"])

    def cookie(self, url: str, name: str, value: str) -> None:
        """Hold a cookie for a site, as after logging in there."""
        self._ask("Network.setCookie", url=url, name=name, value=value, httpOnly=True, sameSite="Strict")

    def cookies(self) -> dict[str, dict[str, Any]]:
        """Every cookie that is held, by name, with where it goes."""
        return {each["name"]: each for each in self._ask("Network.getAllCookies")["cookies"]}

    def type_in(self, text: str) -> None:
        """Type where the focus is."""
        self._ask("Input.insertText", text=text)

    def forget(self) -> None:
        """Hold no cookie, and no complaint."""
        self._ask("Network.clearBrowserCookies")
        self.complaints.clear()

    def spent(self) -> float:
        """Seconds of processor that scripts, styles and layout of this page took so far."""
        found = {each["name"]: each["value"] for each in self._ask("Performance.getMetrics")["metrics"]}
        return sum(float(found[name]) for name in ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration"))

    def _mouse(self, kind: str, x: float, y: float, *, buttons: int) -> None:
        self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=buttons, clickCount=1)

    def picture(self, path: Path) -> bytes:
        """Take a picture of the window as PNG, and keep it at a path."""
        data = base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"])
        path.write_bytes(data)
        return data

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            said = self._hear()
            if said.get("id") == self._number:
                if said.get("error", {}).get("message") == "Inspected target navigated or closed":
                    raise Elsewhere(method)
                assert "error" not in said, said["error"]
                result: dict[str, Any] = said["result"]
                return result
            if said.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(str(said["params"]["exceptionDetails"]))
            elif said.get("method") == "Log.entryAdded" and _NETWORK in said["params"]["entry"]["text"]:
                self._interrupted = True
            elif said.get("method") == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.complaints.append(said["params"]["entry"]["text"])

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._receive, 1 << 20)
            assert data, "Chromium ended"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        said: dict[str, Any] = json.loads(line)
        return said
