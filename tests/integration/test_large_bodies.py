# SPDX-License-Identifier: Apache-2.0
"""Bodies of a GiB in both directions: whole, byte-equal, and without memory for them.

Nothing of a body is kept but what is on its way, so the memory of the process is the same for a
KiB and for a GiB, and the same when one side stands still.
"""

import filecmp
import json
import os
from typing import Any, Callable, Iterator, List, Tuple

import pytest

from lib.bulk import BulkServer, Flow, Memory, PATTERN, Upload, take_body, wait_stalled
from lib.config import config, pool, route
from lib.curl import curl
from lib.steady import is_sanitized
from lib.wait import stays
from lib.wire import Wire, request_bytes

MIB = 1 << 20
BODY_BYTES = (256 if is_sanitized() else 1024) * MIB
HUGE_BYTES = 1024 * MIB
GROWTH_MAX_BYTES = 8 * MIB
SLOW_N = 16
CURL_BYTES = 64 * MIB


@pytest.fixture
def bulk() -> Iterator[BulkServer]:
    """An upstream for large bodies."""
    server = BulkServer()
    yield server
    server.stop()


@pytest.fixture
def through(sluiced, bulk) -> Callable[[], Tuple[Any, Memory]]:
    """Starts one worker in front of it that has carried something, and measures from there."""
    def start() -> Tuple[Any, Memory]:
        proxy = sluiced(config({"bulk": pool(bulk.address, health="off")},
                               [route("bulk", max_body="off")], workers=1))
        with Wire(proxy.address("edge")) as wire:
            check_download(wire, MIB, "")
            assert Upload(wire, MIB, chunked=True).told() == {"bytes": MIB, "equal": True}
        return proxy, Memory(proxy.process.pid)
    return start


def check_memory(memory: Memory) -> None:
    """What the process has taken meanwhile, at its peak and now."""
    peak, anon = memory.peak_growth(), memory.anon_growth()
    print({"peak_growth_kib": peak >> 10, "anon_growth_kib": anon >> 10})
    if not is_sanitized():  # which keep freed memory on purpose
        assert peak < GROWTH_MAX_BYTES and anon < GROWTH_MAX_BYTES, (peak, anon)


def check_download(wire: Wire, size: int, query: str) -> None:
    """Asks for a body, and compares it."""
    wire.send(request_bytes("GET", f"/{size}{query}"))
    head = wire.reader.head()
    assert head.status == 200 and bool(head.get("transfer-encoding")) == (query == "?chunked"), head
    assert take_body(wire.reader, head, Flow()).told() == {"bytes": size, "equal": True}


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_upload_of_a_gib_arrives_whole_in_flat_memory(through, bulk, chunked):
    proxy, memory = through()
    with Wire(proxy.address("edge")) as wire:
        assert Upload(wire, BODY_BYTES, chunked).told() == {"bytes": BODY_BYTES, "equal": True}
        check_memory(memory)
        check_download(wire, MIB, "")  # the connection goes on
    assert bulk.messages[2].trailers == ([("X-Sum", "7")] if chunked else [])
    assert proxy.access_log(4)[2]["bytes_in"] == BODY_BYTES


@pytest.mark.parametrize("query", ["", "?chunked"], ids=["length", "chunked"])
def test_download_of_a_gib_arrives_whole_in_flat_memory(through, query):
    proxy, memory = through()
    with Wire(proxy.address("edge")) as wire:
        check_download(wire, BODY_BYTES, query)
        check_memory(memory)
        check_download(wire, MIB, "")
    assert proxy.access_log(4)[2]["bytes_out"] == BODY_BYTES


def test_readers_that_stand_still_cost_their_marks_and_get_the_rest_later(through, bulk):
    """The upstreams want to send 16 GiB; each client reads a byte now and then, or nothing."""
    proxy, memory = through()
    wires: List[Wire] = []
    flows_n = len(bulk.flows)
    try:
        for _ in range(SLOW_N):
            wire = Wire(proxy.address("edge"), receive_buffer=4096)
            wires.append(wire)
            wire.send(request_bytes("GET", f"/{HUGE_BYTES}"))
            assert wire.reader.head().status == 200
        assert len(bulk.flows) == flows_n + SLOW_N
        for _ in range(10):
            for wire in wires[::2]:
                wire.reader.buf += wire.sock.recv(1)
            stays(lambda: memory.peak_growth() < GROWTH_MAX_BYTES or is_sanitized(), 0.05,
                  "memory within its bounds")
        wait_stalled(bulk.flows[flows_n:])
        assert max(flow.done for flow in bulk.flows[flows_n:]) < HUGE_BYTES // 8
        check_memory(memory)
        wire = wires[0]
        taken = wire.reader.exactly(16 * MIB)
        assert taken == (PATTERN * 6)[:16 * MIB]
        check_memory(memory)
    finally:
        for wire in wires:
            wire.close()


def test_upstream_that_stands_still_stops_the_upload_and_gets_the_rest_later(through, bulk):
    proxy, memory = through()
    bulk.reading.clear()
    size = BODY_BYTES // 4
    with Wire(proxy.address("edge")) as wire:
        upload = Upload(wire, size)
        wait_stalled([upload.flow])
        assert upload.flow.done < size // 2
        check_memory(memory)
        bulk.reading.set()
        assert upload.told() == {"bytes": size, "equal": True}
        check_memory(memory)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_curl_uploads_and_downloads_a_file(through, bulk, tmp_path, chunked):
    proxy, memory = through()
    source, copy = tmp_path / "source", tmp_path / "copy"
    with source.open("wb") as out:
        for _ in range(CURL_BYTES // len(PATTERN) + 1):
            out.write(PATTERN)
    os.truncate(source, CURL_BYTES)
    framing = ["-H", "Transfer-Encoding: chunked"] if chunked else []
    out, _ = curl(*framing, "-T", str(source), f"{proxy.url()}/upload")
    assert json.loads(out) == {"bytes": CURL_BYTES, "equal": True}
    assert bool(bulk.messages[-1].get("transfer-encoding")) == chunked
    curl("--fail", "-o", str(copy), f"{proxy.url()}/{CURL_BYTES}{'?chunked' if chunked else ''}")
    assert filecmp.cmp(source, copy, shallow=False)
    check_memory(memory)
