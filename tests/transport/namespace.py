"""A network of one cable, which can be cut in one direction without either end being told."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from typing import Literal

import pytest

__all__ = ["Cable", "Cut"]

Cut = Literal["there", "back", "both"]
_NOBODY = "02:00:00:00:00:01"   # frames to this address are dropped in silence, as by a switch that lost its way
_numbers = itertools.count(os.getpid() * 4)


class Cable:
    """From this namespace, where the camera is, to another, where the collector is."""

    def __init__(self) -> None:
        number = next(_numbers)
        self._name, self._mine, self._theirs = f"cmnas{number}", f"cm{number}a", f"cm{number}b"
        subnet = f"198.18.{number // 64 % 256}.{number % 64 * 4}".rsplit(".", 1)    # RFC 2544: for such tests
        self.here, self.host = (f"{subnet[0]}.{int(subnet[1]) + end}" for end in (1, 2))
        self.within = ("ip", "netns", "exec", self._name)
        if shutil.which("ip") is None:
            pytest.skip("network namespaces: the command ip is not installed")
        made = _ip("netns", "add", self._name)
        if made.returncode:
            pytest.skip(f"network namespaces cannot be made here: {made.stderr.strip()}")
        try:
            for words in (("link", "add", self._mine, "type", "veth", "peer", "name", self._theirs, "netns",
                           self._name),
                          ("addr", "add", f"{self.here}/30", "dev", self._mine), ("link", "set", self._mine, "up"),
                          ("-n", self._name, "addr", "add", f"{self.host}/30", "dev", self._theirs),
                          ("-n", self._name, "link", "set", "lo", "up"),
                          ("-n", self._name, "link", "set", self._theirs, "up")):
                if (done := _ip(*words)).returncode:
                    pytest.skip(f"network namespaces cannot be joined here: {done.stderr.strip()}")
        except BaseException:
            self.close()
            raise

    def cut(self, direction: Cut) -> None:
        """Let nothing through any more; nobody is told."""
        if direction != "back":
            _ip("neigh", "replace", self.host, "lladdr", _NOBODY, "nud", "permanent", "dev",
                self._mine).check_returncode()
        if direction != "there":
            _ip("-n", self._name, "neigh", "replace", self.here, "lladdr", _NOBODY, "nud", "permanent", "dev",
                self._theirs).check_returncode()

    def heal(self) -> None:
        """Let everything through again."""
        _ip("neigh", "del", self.host, "dev", self._mine)
        _ip("-n", self._name, "neigh", "del", self.here, "dev", self._theirs)

    def close(self) -> None:
        """Take it away; both its ends go with the namespace."""
        _ip("netns", "del", self._name)


def _ip(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
