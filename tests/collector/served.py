"""A collector of this process on a port, so that a browser can look while a test moves its clock."""

from __future__ import annotations

import socket
import threading

import uvicorn
from starlette.applications import Starlette

from tests.collector.house import House


class Served:
    """Serves an app, a house's own if no other is given, as long as it is entered."""

    def __init__(self, house: House, app: Starlette | None = None) -> None:
        self.house = house
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = uvicorn.Server(uvicorn.Config(
            app or house.app, log_config=None, access_log=False, lifespan="off", ws="none",
            timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def __enter__(self) -> Served:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    def log_in(self, role: str) -> tuple[str, str]:
        """Log somebody of a role in; the cookie that says so, as name and value."""
        token = self.house.cookie(role)["Cookie"].partition("=")[2]
        return f"cmnas-session-{self.port}", token

    def tell(self) -> None:
        """Let open pages ask again, as after any change."""
        self.house.gallery.note_gaps([])
