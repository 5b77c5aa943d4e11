"""A real Milvus for the tests of this folder, started once, if this machine has what that needs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest

from tests.collector.store.milvus_server import Milvus, Server, missing


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own for this run."""
    if reason := missing():
        pytest.skip(reason)
    server = Server(tmp_path_factory.mktemp("milvus"))
    server.start()
    yield server
    server.close()


@pytest.fixture
def milvus(server: Server) -> Iterator[Milvus]:
    """The server, and the stores that a test opens on it; they end with the test."""
    milvus = Milvus(server)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")     # of libraries that pymilvus uses
        yield milvus
        for store in milvus.opened:
            store.stop()
