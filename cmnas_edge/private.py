"""Files that only their owner may read: secrets that settings name, and what else is nobody's business."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from cmnas_edge.errors import ConfigError, unwritable

__all__ = ["hand_to_folders_owner", "handed", "read_secret", "to_disk", "write_new_secret", "write_private"]

_LARGEST_SECRET = 1 << 16   # bytes; certificates of a whole chain are less


def handed(path: Path) -> Path:
    """Where a file is to be read: there, or in the copy that systemd hands to a service which may not open it.

    A service without a user of its own cannot read what is root's alone; its unit says
    ``LoadCredential=NAME:FILE``, and the name is the file's (`cmnas_edge.service` prints it so).
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if not folder.startswith("/") or os.access(path, os.R_OK):
        return path
    copy = Path(folder) / path.name
    return copy if copy.is_file() else path


def read_secret(path: Path) -> str:
    """Read a secret from a file that only its owner may read; or from systemd's copy (`handed`).

    Raises:
        ConfigError: The file is missing, empty, readable by others, or larger than any secret is.
    """
    # systemd lets a service's user read by an access list, which a mode shows as if a group might (systemd#29435).
    path, allowed = (copy, 0o440) if (copy := handed(path)) != path else (path, 0)
    try:
        found = path.stat()     # before a byte is read: a pipe would never end, nor would a device
        mode = stat.S_IMODE(found.st_mode)
        if stat.S_ISREG(found.st_mode) and found.st_size > _LARGEST_SECRET:
            raise ConfigError(f"{path}: expected a secret of at most {_LARGEST_SECRET} bytes, found {found.st_size}; "
                              "name another file")
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise ConfigError(f"{path}: expected a file with a secret, found a device or pipe; name another file")
        secret = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise ConfigError(f"{path}: expected a file with a secret, {reason}; create it, mode 0600") from None
    if mode & 0o077 & ~allowed:
        raise ConfigError(f"{path}: expected mode 0600, found {mode:04o}: others can read this secret; "
                          f"run chmod 600 {path}")
    if not secret:
        raise ConfigError(f"{path}: expected a secret, found an empty file; write it again")
    return secret


def write_private(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Write a file that only its owner may read, all of it or nothing, safe against power loss.

    Raises:
        OSError: It cannot be written; or it exists and ``replace`` is false.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}") if replace else path
    handle = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    to_disk(path.parent)


def to_disk(path: Path) -> None:
    """Have a file's bytes, or what was made, renamed or deleted in a folder, on the disk when this returns.

    Raises:
        OSError: It cannot be.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def hand_to_folders_owner(path: Path) -> None:
    """Give what root just made to whom its folder belongs: a service without a user of its own could not read it.

    Raises:
        OSError: It is not there.
    """
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def write_new_secret(path: Path, data: bytes, what: str, why: str) -> None:
    """Write a secret to a file of mode 0600 that is not there yet.

    Args:
        path: The new file.
        data: What it shall hold.
        what: It is called in messages: a key, a token.
        why: One that is there is not replaced.

    Raises:
        ConfigError: Something is at ``path``, or it cannot be written.
        DiskFull: There is no room.
    """
    try:
        write_private(path, data, replace=False)
    except FileExistsError:
        raise ConfigError(f"{path}: expected no file yet, found one; {why}, and nothing was changed: name another "
                          "file, or move that one away") from None
    except OSError as error:
        raise unwritable(path, f"a {what}", error, "nothing was changed: name another file", kind="a file",
                         again="give the same command again; nothing was changed") from None
