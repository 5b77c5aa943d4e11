"""Which files a service without a user of its own can read, write, or must be handed by systemd."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from cmnas_edge.errors import ConfigError

__all__ = ["STATE", "credentials", "home_line", "open_to_all", "state_folder", "unreadable"]

STATE = Path("/var/lib")
_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")    # else systemd would take it for two, or for a specifier
_HIDDEN = tuple(map(Path, ("/tmp", "/var/tmp", "/dev/shm")))  # noqa: S108 - the service has its own
_HOMES = tuple(map(Path, ("/home", "/root", "/run/user")))


def open_to_all(path: Path) -> bool:
    """Say whether a user nobody knows yet may read a file, or list a folder, and pass every folder above it."""
    try:
        found = path.stat()
        mode = found.st_mode
        if not mode & stat.S_IROTH or (stat.S_ISDIR(mode) and not mode & stat.S_IXOTH):
            return False
        return all(above.stat().st_mode & stat.S_IXOTH for above in path.absolute().parents)
    except OSError:
        return False


def unreadable(paths: Iterable[Path | None]) -> list[str]:
    """Say of each path that is there but closed to a service what to do."""
    return [f"{path} is not readable by everybody, so the service cannot read it: chmod a+rX it and the folders above "
            "it" for path in dict.fromkeys(paths) if path is not None and path.exists() and not open_to_all(path)]


def state_folder(files: Mapping[str, Path | None], default: str, *, own: bool = False, least_depth: int = 2) -> str:
    """Name the folder below ``/var/lib`` that holds everything a service writes.

    Args:
        files: Paths by the setting that names them.
        default: Used where there are none.
        own: Take no other than the default: each service has a user of its own, to whom systemd gives the folder, so
            that two of them cannot share one.
        least_depth: 2 for files in it, 1 for the folder itself.

    Raises:
        ConfigError: One lies elsewhere, where the service may not write, they lie in two folders, or in one whose
            name systemd would read otherwise.
    """
    found = default
    for row, (key, path) in enumerate((key, path) for key, path in files.items() if path is not None):
        parts = path.relative_to(STATE).parts if path.is_relative_to(STATE) else ()
        wanted = STATE / (found if row else default)
        if len(parts) < least_depth or ((row or own) and parts[0] != found):
            name = wanted / path.name if least_depth > 1 else wanted
            raise ConfigError(f"{key}: expected it below {wanted}, the one place where the service may write, found "
                              f"{path}; write \"{name}\"")
        found = parts[0]
        if not _FOLDER.fullmatch(found):
            raise ConfigError(f"{key}: expected a folder below {STATE} that is called by letters, digits, '-', '_' and "
                              f"'.', found {found!a}; rename it")
    return found


def credentials(secrets: Iterable[Path | None]) -> list[str]:
    """Lines that hand secrets of root's to the service; it finds them by their file's name.

    Raises:
        ConfigError: Two have the same name, or one has a name that a credential cannot have.
    """
    lines: dict[str, str] = {}
    for path in dict.fromkeys(path for path in secrets if path is not None):
        name, line = path.name, f"LoadCredential={path.name}:{str(path).replace('%', '%%')}"
        if lines.get(name, line) != line:
            raise ConfigError(f"{path}: expected secrets in files of different names, since systemd hands them over by "
                              f"name, found two called {name!r}; rename one")
        # systemd takes no other name for a credential, reads a backslash as none, and drops a space at a line's end.
        if set(name) & set(":%\\") or not (name.isascii() and name.isprintable()) or len(name) > 200 or (
                name != name.strip()):
            raise ConfigError(f"{path}: expected a secret's file to be called by at most 200 printable characters of "
                              "ASCII without ':', '%', '\\' and a space at either end, found others; rename it")
        lines[name] = line
    return list(lines.values())


def home_line(paths: Iterable[Path | None]) -> str:
    """How much of people's homes the service sees: nothing, unless it needs a file there.

    Raises:
        ConfigError: A path lies in a folder of which the service has one of its own.
    """
    needed = [path.absolute() for path in paths if path is not None]
    for path in needed:
        if any(path.is_relative_to(folder) for folder in _HIDDEN):
            raise ConfigError(f"{path}: expected it where the service sees it, found it in a folder for temporary "
                              "files, of which the service has its own; move it to /etc/cmnas-edge")
    return "ProtectHome=" + ("read-only" if any(path.is_relative_to(home) for path in needed for home in _HOMES)
                             else "yes")
