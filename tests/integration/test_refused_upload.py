# SPDX-License-Identifier: Apache-2.0
"""A large upload that is refused: the client, which still sends, learns why."""

from lib.config import config, pool
from lib.refuser import Refuser
from lib.wire import Wire, request_bytes

UPLOAD_BYTES = 32 << 20


def test_client_that_sends_on_can_end_its_upload_and_reads_the_refusal(sluiced):
    """Many clients read nothing before they have sent all; for them a RST is the only answer."""
    server = Refuser("401 Unauthorized", True)
    proxy = sluiced(config({"chat": pool(server.address, health="off")}, workers=1))
    try:
        for _ in range(5):
            with Wire(proxy.address("edge")) as wire:
                wire.send(request_bytes("POST", "/v1/x", bytes(UPLOAD_BYTES)))
                assert wire.reader.response().status == 401
    finally:
        server.stop()
