"""One collection on a Milvus server: what is asked of pymilvus, and what its failures mean.

The index is FLAT: exact, for rows just added too (an HNSW index finds fewer of those, milvus-io/milvus#41650). Nothing
in it names a device, a camera or a person; cameras stand as hashes. A row's digest says what it is a copy of, so that
what is there can be held against the journal without reading vectors. Time to live is never used: who erases is us.
"""

from __future__ import annotations

import hashlib
import logging
import re
import struct
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from cmnas_edge.collector.matching.vectors import F16, F32, Camera, Filter, Hit
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.errors import ConfigError, LinkDown

__all__ = ["MAX_HITS", "MilvusCollection", "MilvusRow", "Server"]

MAX_HITS = 16384        # of one answer; Milvus has this limit
_ASK_S, _WRITE_S, _PREPARE_S = 5.0, 20.0, 120.0
_MARK = "cmnas-edge hot window of "
_log = logging.getLogger("cmnas.collector")


class Server(msgspec.Struct, frozen=True):
    """Where a Milvus is, and what it is told."""

    address: str
    token: str = ""
    certificate_authority: Path | None = None
    collection: str = "cmnas"


class MilvusRow(msgspec.Struct, frozen=True):
    """A sighting as it stands there, with a digest of all of it."""

    id: int
    vector: F16
    camera: Camera
    modality: Modality
    transform: int
    seen_from: float
    seen_at: float

    @property
    def digest(self) -> int:
        """A number that another row, or this one of another journal, does not have."""
        said = repr((self.id, self.camera, self.modality, self.transform, self.seen_from, self.seen_at))
        return _signed(hashlib.blake2b(said.encode() + self.vector.tobytes(), digest_size=8).digest())


class MilvusCollection:
    """The sightings of one collector and bundle on a server.

    Every method raises `LinkDown` when the server cannot be reached or does not answer as it should.

    Args:
        server: Where.
        owner: What marks this collector's.
        fingerprint: Of the bundle.
        dimension: Entries of a vector.
        also: Fingerprints of bundles that have collections there, too. Others of this collector are dropped.
    """

    def __init__(self, server: Server, *, owner: str, fingerprint: bytes, dimension: int,
                 also: Collection[bytes] = ()) -> None:
        self._server = server
        self._owner = owner
        self._dimension = dimension
        self._client: Any = None
        self.name = _name(server, fingerprint)
        self._kept = {self.name, *(_name(server, one) for one in also)}

    def open(self) -> None:
        """Connect, and make the collection where there is none.

        Raises:
            ConfigError: pymilvus is missing; or the collection is another collector's, or of another kind.
        """
        try:
            from pymilvus import DataType, MilvusClient  # noqa: PLC0415 - only where the settings name a server
        except ImportError:
            raise ConfigError("index: expected the package pymilvus, found none; run: "
                              "pip install 'cmnas-edge[milvus]'") from None
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL + 1)    # it shows tracebacks; we say it in a sentence
        before = self._client
        with self._explained():
            further: dict[str, Any] = {}
            if self._server.certificate_authority is not None:
                further["server_pem_path"] = str(self._server.certificate_authority)
            self._client = MilvusClient(uri=self._server.address, token=self._server.token, timeout=_ASK_S, **further)
            if before is not None:
                before.close()
            if not self._client.has_collection(self.name, timeout=_ASK_S):
                schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False,
                                                    description=_MARK + self._owner)
                schema.add_field("id", DataType.INT64, is_primary=True)
                schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self._dimension)
                for name in ("camera", "transform", "digest"):
                    schema.add_field(name, DataType.INT64)
                schema.add_field("modality", DataType.INT8)
                for name in ("seen_from", "seen_at"):
                    schema.add_field(name, DataType.DOUBLE)
                index = MilvusClient.prepare_index_params()
                index.add_index("vector", index_type="FLAT", metric_type="IP")
                self._client.create_collection(self.name, schema=schema, index_params=index, timeout=_PREPARE_S)
            found = self._client.describe_collection(self.name, timeout=_ASK_S)
        self._check(found)
        with self._explained():
            self._client.load_collection(self.name, timeout=_PREPARE_S)
            self._drop_others()

    def _drop_others(self) -> None:
        """Drop what this collector kept there of bundles that are accepted no more: nobody would let go of it."""
        for name in self._client.list_collections(timeout=_ASK_S):
            if name in self._kept or not re.fullmatch(re.escape(self._server.collection) + "_[0-9a-f]{16}", name):
                continue
            if self._client.describe_collection(name, timeout=_ASK_S).get("description") == _MARK + self._owner:
                self._client.drop_collection(name, timeout=_PREPARE_S)
                _log.info("index: dropped collection %s, of a bundle that is accepted no more", name)

    def _check(self, found: dict[str, Any]) -> None:
        if found.get("description") != _MARK + self._owner:
            raise ConfigError(f"{self._server.address}: expected collection {self.name} to be this collector's, found "
                              "another's; set index_collection to a name of its own, or drop that one if nobody uses "
                              "it: all of it is filled again from the journal")
        sizes = [field["params"]["dim"] for field in found["fields"] if field["name"] == "vector"]
        if sizes != [self._dimension]:
            raise ConfigError(f"{self._server.address}: expected collection {self.name} to hold vectors of "
                              f"{self._dimension} entries, found {sizes}; drop it: all of it is filled again from the "
                              "journal")

    def close(self) -> None:
        """Let the connection go."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def upsert(self, rows: Sequence[MilvusRow]) -> None:
        """Write rows, in the place of those of the same id."""
        with self._explained():
            self._client.upsert(self.name, [
                {"id": row.id, "vector": row.vector.astype(np.float32), "camera": _hash(row.camera),
                 "transform": _wrapped(row.transform), "modality": MODALITIES.index(row.modality),
                 "seen_from": row.seen_from, "seen_at": row.seen_at, "digest": row.digest} for row in rows],
                timeout=_WRITE_S)

    def delete(self, sightings: Collection[int]) -> None:
        """Erase rows, as far as they are there."""
        wanted = sorted(sightings)
        with self._explained():
            for at in range(0, len(wanted), MAX_HITS):
                self._client.delete(self.name, ids=wanted[at:at + MAX_HITS], timeout=_WRITE_S)

    def digests(self) -> dict[int, int]:
        """Digest by id of every row that is there now."""
        found: dict[int, int] = {}
        last = -1
        with self._explained():
            while rows := self._client.query(self.name, filter=f"id > {last}", output_fields=["id", "digest"],
                                             limit=MAX_HITS, consistency_level="Strong", timeout=_WRITE_S):
                found.update((row["id"], row["digest"]) for row in rows)
                last = max(row["id"] for row in rows)
        return found

    def count(self) -> int:
        """How many rows are there now."""
        with self._explained():
            return int(self._client.query(self.name, filter="", output_fields=["count(*)"], timeout=_WRITE_S,
                                          consistency_level="Strong")[0]["count(*)"])

    def search(self, queries: F32, k: int, keep: Filter, first: int, last: int) -> list[list[Hit]]:
        """Find, for each of ``queries`` ``(q, d)``, ``k`` of those that were there some seconds ago.

        Args:
            queries: Unit vectors.
            k: At most `MAX_HITS`.
            keep: Which may be found.
            first: Only ids from here on.
            last: Only ids up to here.
        """
        if keep.cameras is not None and not keep.cameras:
            return [[] for _ in queries]
        with self._explained():
            answers = self._client.search(
                self.name, data=list(np.asarray(queries, np.float16).astype(np.float32)), limit=k,
                filter=_expression(keep, first, last), output_fields=["modality"], consistency_level="Bounded",
                search_params={"metric_type": "IP"}, timeout=_ASK_S)
        return [[Hit(int(hit["id"]), float(hit["distance"]), MODALITIES[hit["entity"]["modality"]]) for hit in hits]
                for hits in answers]

    def vector(self, sighting: int) -> F32 | None:
        """Read the vector of a row that was there some seconds ago."""
        with self._explained():
            rows = self._client.query(self.name, filter=f"id == {sighting}", output_fields=["vector"],
                                      consistency_level="Bounded", timeout=_ASK_S)
        return np.asarray(rows[0]["vector"], np.float32) if rows else None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        from grpc import RpcError  # noqa: PLC0415 - pymilvus brings it
        from pymilvus.exceptions import MilvusException  # noqa: PLC0415

        try:
            yield
        except (MilvusException, RpcError, OSError, AttributeError, ValueError) as error:
            # Another thread let the connection go that this one was using; what else these mean is our mistake.
            if (isinstance(error, AttributeError) and self._client is not None) or (
                    isinstance(error, ValueError) and "closed" not in str(error)):
                raise
            text = " ".join(str(getattr(error, "message", "") or error).split())[:160] or "no connection"
            raise LinkDown(f"{self._server.address}: expected a Milvus that answers, found: {text}") from None


def _name(server: Server, fingerprint: bytes) -> str:
    return f"{server.collection}_{fingerprint.hex()[:16]}"


def _expression(keep: Filter, first: int, last: int) -> str:
    """A filter in Milvus' words; numbers alone, so that no name can say anything in it."""
    parts = [f"id >= {first}", f"id <= {last}", f"transform == {_wrapped(keep.transform)}"]
    if keep.cameras is not None:
        parts.append(f"camera in {sorted(map(_hash, keep.cameras))}")
    if keep.modality is not None:
        parts.append(f"modality == {MODALITIES.index(keep.modality)}")
    if keep.seen_from > -np.inf:
        parts.append(f"seen_at >= {float(keep.seen_from)!r}")
    if keep.seen_to < np.inf:
        parts.append(f"seen_from <= {float(keep.seen_to)!r}")
    if keep.exclude:
        parts.append(f"id not in {sorted(keep.exclude)}")
    return " and ".join(parts)


def _hash(camera: Camera) -> int:
    return _signed(hashlib.blake2b(msgspec.json.encode(camera), digest_size=8).digest())


def _signed(eight: bytes) -> int:
    return int(struct.unpack("<q", eight)[0])


def _wrapped(unsigned: int) -> int:
    return _signed(struct.pack("<Q", unsigned))
