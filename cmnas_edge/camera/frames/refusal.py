"""Why a stream could not be had: FFmpeg only says that it couldn't, and an operator must know what to mend.

One RTSP question (RFC 2326, DESCRIBE) without credentials tells a wrong port from a wrong path
from a wrong password from a camera that is busy or broken; none is sent, so no camera counts it as a failed login.
"""

from __future__ import annotations

import re
import socket
from urllib.parse import urlsplit

__all__ = ["why_not"]

_MOST_S = 2.0       # it is asked after an attempt that failed, before the next
# By status, or by its first digit, whoever says another of that kind (RFC 2326, 7.1.1): what is found, what to do.
_ANSWERS = {
    404: ("has no such stream", "check the path in 'location'"),
    410: ("has that stream no more", "check the path in 'location'"),
    453: ("has no bandwidth left", "close other viewers of it, or lower its rate or size"),
    503: ("is busy or still starting", "wait, and close other viewers of it"),
    3: ("sends elsewhere for this stream", "write the address it names in 'location'"),
    4: ("does not understand what it is asked", "check the path in 'location', and its firmware"),
    5: ("is in trouble of its own", "restart it; if that is no help, check the path in 'location'"),
}
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


def why_not(url: str, patience_s: float) -> str:
    """Ask who is there, and say what was found and what to do, without credentials, path or query of the URL.

    Args:
        url: What could not be opened; its host and port were found to be legal.
        patience_s: Wait no longer than this.
    """
    parts = urlsplit(url)
    patience_s = min(_MOST_S, patience_s)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or _PORTS[parts.scheme]), patience_s) as peer:
            if parts.scheme != "rtsp":
                return "no video; check the address, the credentials and the camera"
            peer.settimeout(patience_s)
            public = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
            peer.sendall(f"DESCRIBE {public} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n".encode())
            answer = peer.recv(64)
    except TimeoutError:
        return "no answer; check that the camera is on and its address"
    except ConnectionRefusedError:
        return "nobody who listens (refused); check the port in 'location' and that the camera is on"
    except OSError as error:
        return f"nobody there ({error.strerror or error}); check the address in 'location' and the network"
    status = re.match(rb"RTSP/\d\.\d (\d{3})", answer)
    if status is None:
        return "an answer that is no RTSP; check the port in 'location'"
    code = int(status[1])
    if code in (401, 403):
        told = "refuses these" if "@" in parts.netloc else "asks for"
        return f"a camera that {told} credentials ({code}); check user and password in 'location'"
    if code == 200:
        return "a stream that gives no picture; set the camera to H.264 or H.265"
    found, remedy = _ANSWERS.get(code) or _ANSWERS.get(code // 100) or _ANSWERS[4]
    return f"a camera that {found} ({code}); {remedy}"
