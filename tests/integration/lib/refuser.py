# SPDX-License-Identifier: Apache-2.0
"""An upstream that answers before it has the body: what it refuses, it need not read."""

import socket
import threading

from lib.wire import DEADLINE_S, Closed, Reader, answer_bytes


class Refuser:
    """Answers each head at once, before the body; then ends, or drops the body to its end."""

    def __init__(self, status: str, ends: bool) -> None:
        self.answer = answer_bytes(b"refused", status, [("Connection", "close")] if ends else ())
        self.ends = ends
        self.heads_n = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(DEADLINE_S)
        reader = Reader(sock)
        try:
            while True:
                head = reader.head()
                self.heads_n += 1
                sock.sendall(self.answer)
                if self.ends:
                    break
                reader.exactly(int(head.get("content-length") or 0))
        except (Closed, OSError):
            pass
        finally:
            sock.close()  # with unread bytes this is a RST

    def stop(self) -> None:
        """Accepts no more."""
        self.listener.close()
