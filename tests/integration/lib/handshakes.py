# SPDX-License-Identifier: Apache-2.0
"""New TLS connections at a pace, in a thread: each must be let in, see the certificate of the moment
on both sides of the proxy, and get what it asked for."""

import json
import ssl
import threading
import time
from typing import Any, List, Optional

from lib.rotation import Timeline
from lib.wait import Pace
from lib.wire import REFUSED, Wire

FILLER = bytes(i % 251 for i in range(20_000))  # what the model server sends for /bytes/N


class Handshakes:
    """While the with-block runs. Each second client offers the session of the one before."""

    def __init__(self, address: str, context: ssl.SSLContext, ours: Timeline, upstream: Timeline,
                 per_s: float) -> None:
        """ours: certificates of the listener; upstream: those that the pool shows."""
        self.address = address
        self.context = context
        self.ours = ours
        self.upstream = upstream
        self.per_s = per_s
        self.done = 0
        self.resumed = 0
        self.bytes = 0
        self.seen: set = set()
        self.failures: List[str] = []
        self._session: Optional[Any] = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main, daemon=True)

    def __enter__(self) -> "Handshakes":
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the handshakes do not end"

    def _main(self) -> None:
        pace = Pace(self.per_s)
        while not self._stop.is_set():
            pace.wait()
            try:
                self._one(self._session if self.done % 2 else None)
                self.done += 1
            except (AssertionError, ValueError, *REFUSED) as error:
                self.failures.append(repr(error))

    def _one(self, session: Optional[Any]) -> None:
        begun = time.monotonic()
        with Wire(self.address, tls=self.context, session=session) as wire:
            shown = wire.sock.getpeercert()["serialNumber"]
            assert self.ours.was_current(shown, begun, time.monotonic()), f"old: {shown}"
            self.resumed += wire.sock.session_reused
            answer = wire.ask("GET", "/echo")
            assert answer.status == 200, answer
            inner = json.loads(answer.body)["peer_certificate"]["serial"]
            assert self.upstream.was_current(inner, begun, time.monotonic()), f"old: {inner}"
            answer = wire.ask("GET", f"/bytes/{len(FILLER)}")
            assert answer.status == 200 and answer.body == FILLER, answer
            self.bytes += len(answer.body)
            self.seen |= {shown, inner}
            self._session = wire.sock.session
