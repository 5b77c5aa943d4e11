"""Rooms as processes: started with the settings an operator would write, and stopped in order."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from cmnas_edge.errors import DeviceError, LinkDown

__all__ = ["Api", "Stage"]

_START_S = 60.0
_STOP_S = 30.0


class Api:
    """The collector's API, as its page uses it.

    Args:
        port: On loopback.
        door: Path of a link that lets somebody in once, to be used with the first answer; empty where nobody has to
            log in.
    """

    def __init__(self, port: int, door: str = "") -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._door = door
        self._cookie = ""

    def get(self, path: str) -> Any:
        """Fetch JSON.

        Raises:
            LinkDown: Nobody answers, or not with 200.
        """
        return self._ask("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send JSON and fetch the answer; raises as `get` does."""
        return self._ask("POST", path, json.dumps(body).encode())

    def _ask(self, method: str, path: str, body: bytes | None) -> Any:
        if self._door:
            answer, _ = self._exchange("GET", self._door, None)
            if answer.status != 303:
                raise LinkDown(f"{self.url}: expected to be let in, found {answer.status}")
            cookies = answer.headers.get_all("Set-Cookie") or ()
            self._cookie = "; ".join(cookie.partition(";")[0] for cookie in cookies)
            self._door = ""
        answer, text = self._exchange(method, path, body)
        if answer.status != 200:
            raise LinkDown(f"{self.url}{path}: expected 200, found {answer.status} {text[:200]!r}")
        return json.loads(text)

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[http.client.HTTPResponse, bytes]:
        link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            link.request(method, path, body, {**({"Content-Type": "application/json"} if body else {}),
                                              **({"Cookie": self._cookie} if self._cookie else {})})
            answer = link.getresponse()
            return answer, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise LinkDown(f"{self.url}{path}: expected an answer, found {error}; is the collector up?") from None
        finally:
            link.close()


class Stage:
    """Processes of one run; leaving stops them all, cameras first.

    Args:
        folder: Where each process's log goes, as ``NAME.log``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: list[IO[bytes]] = []

    def __enter__(self) -> Stage:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for process in reversed(self._running.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        for process in self._running.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for log in self._logs:
            log.close()

    def start(self, name: str, *arguments: str) -> None:
        """Start ``cmnas-edge ARGUMENTS`` under a name."""
        log = (self._folder / f"{name}.log").open("wb")
        self._logs.append(log)
        # A session of its own: Ctrl-C reaches this process only, which stops the others in order.
        self._running[name] = subprocess.Popen(
            _command(*arguments), stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=_quiet())

    def pid(self, name: str) -> int:
        """Process number, to look at from outside."""
        return self._running[name].pid

    def alive(self, name: str) -> bool:
        """Whether a process still runs.

        Raises:
            DeviceError: It ended with an error; its last words are quoted.
        """
        code = self._running[name].poll()
        if code:
            words = (self._folder / f"{name}.log").read_text("utf-8", "replace").strip().splitlines() or ["nothing"]
            raise DeviceError(f"{name}: ended with exit code {code}, saying: {words[-1]}; "
                              f"its log is {self._folder / name}.log")
        return code is None

    def running(self, names: Iterable[str]) -> int:
        """How many of these processes still run; raises as `alive` does, whichever ended badly."""
        return sum(list(map(self.alive, names)))

    def wait_for(self, api: Api, name: str) -> None:
        """Wait until the collector answers.

        Raises:
            DeviceError: It ended, or did not answer in time.
        """
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            self.alive(name)
            try:
                api.get("/v1/health")
            except LinkDown:
                time.sleep(0.1)
            else:
                return
        raise DeviceError(f"{name}: expected an answer within {_START_S:.0f} s, found none; "
                          f"its log is {self._folder / name}.log")


def run_to_end(*arguments: str) -> str:
    """Run ``cmnas-edge ARGUMENTS`` and return what it printed.

    Raises:
        DeviceError: It ended with an error.
    """
    ran = subprocess.run(_command(*arguments), capture_output=True, text=True, check=False, env=_quiet())
    if ran.returncode:
        said = (ran.stderr.strip().splitlines() or ["nothing"])[-1]
        raise DeviceError(f"cmnas-edge {arguments[0]}: ended with exit code {ran.returncode}, saying: {said}")
    return ran.stdout


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cmnas_edge.cli", *arguments]


def _quiet() -> dict[str, str]:
    # One thread per process: several cameras share the cores, and threads of one would only wait for another's.
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
