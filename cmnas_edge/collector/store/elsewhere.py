"""Whether a collector's vectors are kept elsewhere than in its memory, as its settings say."""

from __future__ import annotations

import importlib.util
import secrets
from collections.abc import Mapping
from pathlib import Path

from cmnas_edge.collector.settings import CollectorSettings
from cmnas_edge.collector.store.milvus import MilvusStore
from cmnas_edge.collector.store.milvus_collection import Server
from cmnas_edge.errors import ConfigError
from cmnas_edge.private import read_secret, write_private

__all__ = ["check", "elsewhere", "owner", "server_of", "told_later"]


def server_of(settings: CollectorSettings) -> Server | None:
    """Say where the vectors are kept; None: in memory.

    Raises:
        ConfigError: The token's file is missing, or others can read it.
    """
    if not settings.index:
        return None
    token = "" if settings.index_token is None else read_secret(settings.index_token)
    return Server(settings.index, token, settings.index_authority, settings.index_collection)


def owner(folder: Path) -> str:
    """Return the number that marks what is this collector's on a server: drawn once, kept in ``folder``."""
    path = folder / "index.owner"
    if not path.exists():
        write_private(path, secrets.token_hex(8).encode() + b"\n")
    return read_secret(path)


def check(settings: CollectorSettings) -> Server | None:
    """Say where the vectors are kept, once it is sure that this machine can speak to it; None: in memory.

    Raises:
        ConfigError: See `server_of`; or pymilvus is not installed.
    """
    server = server_of(settings)
    if server is not None and importlib.util.find_spec("pymilvus") is None:
        raise ConfigError("index: expected the package pymilvus, found none; run: pip install 'cmnas-edge[milvus]'")
    return server


def elsewhere(settings: CollectorSettings, dimensions: Mapping[bytes, int]) -> dict[bytes, MilvusStore]:
    """Return what keeps the vectors of each bundle, to be started once it holds them; empty: memory does.

    Args:
        settings: Of the collector.
        dimensions: Entries of a vector, by fingerprint of the bundles that are accepted.

    Raises:
        ConfigError: See `check`.
    """
    server = check(settings)
    if server is None:
        return {}
    mark = owner(settings.data)
    return {one: MilvusStore(server, owner=mark, fingerprint=one, dimension=entries, also=tuple(dimensions))
            for one, entries in dimensions.items()}


def told_later(settings: CollectorSettings) -> str:
    """What the receipt of an erasure says of vectors that are kept elsewhere; empty: none are."""
    return settings.index and (f"index: its vectors are deleted on {settings.index} as soon as that answers, mostly "
                               "within seconds")
