"""How the collector listens."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from cmnas_edge.collector.serving import listening
from cmnas_edge.collector.settings import CollectorSettings


def test_an_answer_does_not_wait_for_its_head_to_be_acknowledged(tmp_path: Path) -> None:
    # With Nagle's algorithm on, each would, and a device that acknowledges late would be answered 40 ms later.
    listener = listening(CollectorSettings(data=tmp_path, listen="127.0.0.1:0"))

    async def set_on_what_it_accepts() -> int:
        found = asyncio.get_running_loop().create_future()

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            del reader
            found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(accepted, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            try:
                return int(await asyncio.wait_for(found, 30))
            finally:
                writer.close()

    assert asyncio.run(set_on_what_it_accepts()) == 1
