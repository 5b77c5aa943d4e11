"""Whether this device uses a bundle: signed by a pinned key, shipped with the package, or allowed in so many words."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from cmnas_edge.bundle.folder import MANIFEST, SIGNATURE, Bundle, default_path
from cmnas_edge.errors import BundleError

__all__ = ["Trust", "Voucher", "open_trusted", "voucher"]

PublicKey = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z",
                                description="the 64 hexadecimal digits that `python -m export keygen` printed")]
Voucher = Literal["signed", "shipped", "nobody"]


class Trust(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whose bundles are used.

    Attributes:
        keys: Public keys, 64 hexadecimal digits each (``python -m export keygen`` prints one); a
            bundle signed by any of them is used. The bundle that ships with the package needs none.
        allow_unsigned_bundle: Use a bundle that nobody signed. One signed by a key that is not
            listed is refused all the same, and a signature that does not hold always.
    """

    keys: tuple[PublicKey, ...] = ()
    allow_unsigned_bundle: bool = False


def open_trusted(path: Path | None, trust: Trust) -> Bundle:
    """Open a bundle, if this device trusts it.

    Args:
        path: Its folder; None: the one that ships with the package.
        trust: Whose bundles are used.

    Raises:
        BundleError: It is damaged, or nobody whom this device trusts vouches for it.
    """
    bundle = Bundle.open(path or default_path())
    voucher(bundle, trust)
    return bundle


def voucher(bundle: Bundle, trust: Trust) -> Voucher:
    """Say who vouches for a bundle on this device.

    A bundle counts as shipped if its manifest is, byte for byte, the one that came with the
    package, wherever it lies: whoever could change that one could change this program.

    Raises:
        BundleError: Nobody whom this device trusts.
    """
    if set(bundle.signers) & set(trust.keys):
        return "signed"
    if bundle.manifest_sha256 == _shipped():
        return "shipped"
    if bundle.signers:
        known = f"one of the {len(trust.keys)} in [trust] keys" if trust.keys else "one listed in [trust] keys"
        raise BundleError(f"{bundle.path / SIGNATURE}: expected a signature by {known}, found key {bundle.signers[0]}; "
                          "if you know whose it is add it there, else do not use this bundle")
    if not trust.allow_unsigned_bundle:
        raise BundleError(f"{bundle.path}: expected {SIGNATURE} by a key listed in [trust] keys, found a bundle nobody "
                          "signed; sign it (python -m export sign), or write allow_unsigned_bundle = true in [trust]")
    return "nobody"


def _shipped() -> str:
    try:
        return hashlib.sha256((default_path() / MANIFEST).read_bytes()).hexdigest()
    except (BundleError, OSError):
        return ""   # this installation carries none
