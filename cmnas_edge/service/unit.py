"""The text of a unit: what every room's has in common, and how systemd wants a word written."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cmnas_edge.errors import ConfigError

__all__ = ["PROGRAM", "Unit", "program", "word"]

# Each line takes away what neither room needs. Left out, since they break what a room may use: MemoryDenyWriteExecute
# (OpenVINO and CUDA make code while they run) and ProcSubset=pid (ONNX Runtime asks /proc which processor this is).
_FENCE = """\
DynamicUser=yes
UMask=0077
ProtectSystem=strict
PrivateTmp=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM"""

# What a service runs: an environment's Python may be a link to one that lies elsewhere.
PROGRAM = (Path(sys.executable), Path(sys.executable).resolve(), Path(__file__))


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A service. Every line is written as systemd reads it.

    Attributes:
        name: Of the unit, without ``.service``.
        printed_by: The command that prints it.
        about: One line for ``systemctl status``.
        command: Program and arguments.
        service: Lines of its own for ``[Service]``, a comment above each group.
        remarks: What whoever installs it has to know; comments at the top.
    """

    name: str
    printed_by: str
    about: str
    command: Sequence[str | Path]
    service: Sequence[str]
    remarks: Sequence[str] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        """See to it that each line is one.

        Raises:
            ConfigError: A path would begin another line, or is none that a line can show.
        """
        for line in (self.printed_by, *map(str, self.command), *self.service, *self.remarks):
            if not line.isprintable():
                raise ConfigError(f"{line[:100]!a}: expected paths of printable characters, found others; rename them")

    def __str__(self) -> str:
        """The file."""
        remarks = "".join(f"#   {line}\n" for line in self.remarks)
        own = "\n".join(self.service)
        return f"""\
# {self.printed_by}
# Keep it as /etc/systemd/system/{self.name}.service, then: systemctl daemon-reload; systemctl enable --now {self.name}
{"# To know:" + chr(10) + remarks if remarks else ""}
[Unit]
Description={_plain(self.about)}
Wants=network-online.target
After=network-online.target
# It is started again for as long as it takes.
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={" ".join([word(str(self.command[0]), is_program=True), *(word(str(part)) for part in self.command[1:])])}
Restart=on-failure
RestartSec=5
# Settings (78) and bundles (65) do not mend themselves.
RestartPreventExitStatus=65 78
{own}

# What neither needs.
{_FENCE}

[Install]
WantedBy=multi-user.target
"""


def program() -> list[str]:
    """The command ``cmnas-edge`` of this very installation."""
    beside = Path(sys.executable).with_name("cmnas-edge")
    if found := shutil.which(str(beside)):
        return [found]
    return [sys.executable, "-m", "cmnas_edge.cli"]


def word(text: str, *, is_program: bool = False) -> str:
    """Write one word as systemd reads it: ``%`` means something to it, and in a program's arguments ``$``."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    escaped = escaped if is_program else escaped.replace("$", "$$")
    return f'"{escaped}"' if set(text) & set(" \t\"';\\") else escaped


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("%", "%%")
