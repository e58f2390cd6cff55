# SPDX-License-Identifier: Apache-2.0
"""A TCP relay that can be cut: what a network does to a watch, on demand."""

import contextlib
import selectors
import socket
import threading


class Relay:
    """Relays connections to `target` (host, port) from `address` until stop(). One thread; blocking
    sends.
    """

    def __init__(self, target):
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.peers = {}
        self.lock = threading.Lock()
        self.up = True
        self.accepted = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def cut(self):
        """Closes all connections; new ones are closed as soon as they are made."""
        with self.lock:
            self.up = False
            for side in list(self.peers):
                self._close(side)

    def heal(self):
        """Lets new connections through."""
        with self.lock:
            self.up = True

    def stop(self):
        """Ends the relay."""
        self.stopping.set()
        self.thread.join(5)
        self.cut()
        self.listener.close()
        self.selector.close()

    def _close(self, side):
        other = self.peers.pop(side, None)
        if other is None:
            return
        self.selector.unregister(side)
        side.close()
        self._close(other)

    def _accept(self):
        side, _ = self.listener.accept()
        self.accepted += 1
        try:
            if not self.up:
                raise ConnectionError("cut")
            other = socket.create_connection(self.target, timeout=2)
        except OSError:
            side.close()
            return
        self.peers[side], self.peers[other] = other, side
        for one in (side, other):
            one.settimeout(2)
            self.selector.register(one, selectors.EVENT_READ)

    def _forward(self, side):
        data = b""
        with contextlib.suppress(OSError):
            data = side.recv(65536)
            if data:
                self.peers[side].sendall(data)
                return
        self._close(side)

    def _run(self):
        while not self.stopping.is_set():
            ready = self.selector.select(0.1)
            with self.lock:
                for key, _ in ready:
                    if key.fileobj is self.listener:
                        self._accept()
                    elif key.fileobj in self.peers:
                        self._forward(key.fileobj)
