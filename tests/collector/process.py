"""A real collector as a process of its own, for what only a process can show."""

from __future__ import annotations

import re
import ssl
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import httpx

from cmnas_edge.sighting import Gap, Outcome, Sighting
from cmnas_edge.wire import decode_answer, encode_batch
from tests.collector.people import write_bundle

_LISTENING = re.compile(r"listening on (https?://\S+)")


class Process:
    """One collector's folder, and the process on it while it runs."""

    def __init__(self, folder: Path, settings: str = "", *, listen: str = "127.0.0.1:0",
                 within: Sequence[str] = (), authority: Path | None = None) -> None:
        """Write its settings.

        Args:
            folder: Of settings and data.
            settings: Further lines of the settings file.
            listen: Address and port.
            within: Words in front of the command, as of a network namespace.
            authority: Whose certificate it shows, where it speaks TLS.
        """
        self._trust: ssl.SSLContext | bool = True if authority is None else ssl.create_default_context(cafile=authority)
        self.folder = folder
        self._within = within
        self.config = folder / "collector.toml"
        self.url = ""
        self.said = ""
        self._process: subprocess.Popen[str] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        write_bundle(folder / "bundle")
        self.config.write_text(f'data = "data"\nbundle = "bundle"\nlisten = "{listen}"\n'
                               f"trust = {{allow_unsigned_bundle = true}}\n{settings}", "utf-8")

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``cmnas-edge collector`` with some words to its end."""
        return subprocess.run([sys.executable, "-m", "cmnas_edge.cli", "collector", *words], capture_output=True,
                              text=True, timeout=60, check=False)

    def enrol(self, device: str = "gate") -> str:
        """Enrol a device and return its token."""
        done = self.command("enrol", device, "--config", str(self.config))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._process = subprocess.Popen([*self._within, sys.executable, "-m", "cmnas_edge.cli", "collector",
                                          str(self.config)], stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        self.said = ""
        self.url = self.wait_for(_LISTENING)[1]

    def wait_for(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """Wait until it logs a line like this."""
        assert self._process is not None
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.said += line
            if found := pattern.search(line):
                return found
        raise AssertionError(f"the collector ended with {self._process.wait()}: {self.said}")

    def signal(self, number: int) -> None:
        """Send it a signal, and wait for nothing."""
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def runs(self) -> bool:
        """Whether it is there."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(9)

    def stop(self, signal: int = 15) -> int:
        """End it in good order; return its exit code."""
        return self._end(signal)

    def send(self, token: str, records: Iterable[Sighting | Gap]) -> list[Outcome]:
        """Post one batch."""
        records = list(records)
        body = encode_batch([r for r in records if isinstance(r, Sighting)], [r for r in records if isinstance(r, Gap)])
        answer = httpx.post(f"{self.url}/v1/sightings", content=body, headers={"Authorization": f"Bearer {token}"},
                            timeout=30, verify=self._trust)
        assert answer.status_code == 200, answer.text
        return decode_answer(answer.content)

    def ask(self, path: str, **body: Any) -> Any:
        """Ask its API, as a browser on this machine; with a question, by POST."""
        url = self.url + path
        return (httpx.post(url, json=body) if body else httpx.get(url)).json()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def _end(self, signal: int) -> int:
        assert self._process is not None
        self._process.send_signal(signal)
        _, rest = self._process.communicate(timeout=30)
        self.said += rest
        return self._process.returncode
