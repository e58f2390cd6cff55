#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An OpenAI-compatible model server that only pretends: for demos, tests and benchmarks.

It answers like vLLM behind uvicorn, at a chosen first-token time and token rate, and misbehaves on
request (POST /_control). Standard library only. Prints "listening ADDRESS" once it serves.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import socket
import ssl
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Set

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from engine import Engine, Generation  # noqa: E402
from http1 import PIECE_BYTES, Connection, Request  # noqa: E402

FILLER = bytes(i % 251 for i in range(PIECE_BYTES))


@dataclasses.dataclass
class Faults:
    """What the server does wrong at the moment. Set by flags and by POST /_control."""

    unhealthy: bool = False  # GET /health says 503
    refuse: bool = False  # the listening socket is closed
    status: int = 0  # requests (not health and metrics) get this status
    retry_after: int = 0  # and this Retry-After, in seconds
    hang: str = ""  # "all" or "generate": such requests never get an answer
    reset_after_head: bool = False  # RST after the response head
    reset_mid_stream: int = 0  # RST after so many tokens
    slow_head_ms: int = 0  # wait before anything is answered
    close_delimited: bool = False  # bodies end by closing the connection

    def update(self, wanted: Dict[str, Any]) -> None:
        """Takes over known keys with values of the right kind; ValueError otherwise."""
        kinds: Dict[str, Any] = {
            field.name: type(field.default) for field in dataclasses.fields(self)}
        for key, value in wanted.items():
            if key not in kinds:
                raise ValueError(f"unknown fault {key!r}")
            if key == "hang" and isinstance(value, bool):
                wanted[key] = "all" if value else ""
            elif not isinstance(value, (kinds[key], bool)):
                raise ValueError(f"{key}: expected {kinds[key].__name__}, found {value!r}")
        for key, value in wanted.items():
            setattr(self, key, kinds[key](value))


class ModelServer:
    """The application: routes, faults and counters."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: argparse.Namespace) -> None:
        self.loop = loop
        self.options = options
        self.keepalive_s = options.keepalive_s
        self.faults = Faults()
        self.faults.update(json.loads(options.faults))
        self.engine = Engine(loop, options)
        self.connections: Set[Connection] = set()
        self.control_connections: Set[Connection] = set()
        self.connections_total = 0
        self.requests_total = 0
        self.probes_total = 0
        self.aborted_total = 0
        self.last_abort_monotonic = 0.0
        self.own_headers = ""
        self.address = ""
        self.listener: Optional[Any] = None
        self.listening = asyncio.Lock()
        self.tls = tls_context(options.tls) if options.tls else None
        self.routes: Dict[str, Callable[[Connection, Request], None]] = {
            "/v1/chat/completions": self._chat, "/v1/completions": self._completions,
            "/v1/models": self._models, "/version": self._version, "/echo": self._echo,
        }

    # -- listening -----------------------------------------------------------------------------

    async def listen(self) -> None:
        """Opens the main listener, at the address of the first time."""
        bind = self.address or self.options.bind
        if bind.startswith("unix:"):
            path = bind[len("unix:"):]
            if os.path.exists(path):
                os.unlink(path)
            self.listener = await self.loop.create_unix_server(self._accept, path, ssl=self.tls)
            self._named(bind)
            return
        host, _, port = bind.rpartition(":")
        self.listener = await self.loop.create_server(
            self._accept, host.strip("[]"), int(port), backlog=1024, ssl=self.tls,
            reuse_address=True)
        self._named(format_address(self.listener.sockets[0]))

    def _named(self, address: str) -> None:
        self.address = address
        self.own_headers = (f"server: uvicorn\r\nx-model-version: {self.options.version}\r\n"
                            f"x-served-by: {address}\r\n")

    def _accept(self) -> Connection:
        return Connection(self, self.on_request)

    async def listen_control(self, bind: str) -> str:
        """Opens a second, plain listener that serves /_control only; returns its address."""
        host, _, port = bind.rpartition(":")
        server = await self.loop.create_server(
            lambda: Connection(self, self.on_control), host, int(port))
        return format_address(server.sockets[0])

    async def _apply_refuse(self) -> None:
        async with self.listening:
            if self.faults.refuse and self.listener is not None:
                self.listener.close()
                self.listener = None
            elif not self.faults.refuse and self.listener is None:
                await self.listen()

    # -- what connections report ---------------------------------------------------------------

    def opened(self, conn: Connection) -> None:
        """A connection was accepted."""
        if conn.on_request == self.on_request:
            self.connections.add(conn)
            self.connections_total += 1
        else:
            self.control_connections.add(conn)

    def closed(self, conn: Connection) -> None:
        """A connection ended, perhaps in the middle of an answer."""
        self.control_connections.discard(conn)
        if conn in self.connections:
            self.connections.remove(conn)
            if conn.busy:
                self.aborted_total += 1
                self.last_abort_monotonic = time.monotonic()

    # -- routing -------------------------------------------------------------------------------

    def on_request(self, conn: Connection, request: Request) -> None:
        """A whole request came in on the main listener."""
        conn.spared = request.path in ("/_control", "/health", "/metrics")
        if request.path == "/_control":
            self._control(conn, request)
            return
        faults = self.faults
        if conn.spared:
            self.probes_total += 1
        else:
            self.requests_total += 1
        if faults.hang and (faults.hang == "all" or request.path.endswith("/completions")):
            return
        if faults.slow_head_ms:
            timer = self.loop.call_later(faults.slow_head_ms / 1000.0, self._route, conn, request)
            conn.on_lost = timer.cancel
        else:
            self._route(conn, request)

    def on_control(self, conn: Connection, request: Request) -> None:
        """A whole request came in on the control listener."""
        conn.spared = True
        if request.path == "/_control":
            self._control(conn, request)
        else:
            conn.respond(404, error_body("only /_control is served here", 404))

    def _route(self, conn: Connection, request: Request) -> None:
        faults, path = self.faults, request.path
        conn.on_lost = None
        if path == "/health":
            conn.respond(503 if faults.unhealthy else 200, b"", "text/plain")
        elif path == "/metrics":
            text = "\n".join(self.engine.metrics() + self._own_metrics()) + "\n"
            conn.respond(200, text.encode(), "text/plain; version=0.0.4")
        elif faults.status:
            extra = f"retry-after: {faults.retry_after}\r\n" if faults.retry_after else ""
            conn.respond(faults.status, error_body("set by /_control", faults.status), extra=extra)
        elif path in self.routes:
            self.routes[path](conn, request)
        elif path.startswith("/bytes/"):
            self._bytes(conn, request)
        elif path.startswith("/echo/"):
            self._echo(conn, request)
        else:
            conn.respond(404, b'{"detail":"Not Found"}')

    # -- handlers ------------------------------------------------------------------------------

    def _models(self, conn: Connection, _request: Request) -> None:
        card = {"id": self.options.model, "object": "model", "created": int(time.time()),
                "owned_by": "sluiced-demo", "root": self.options.model, "max_model_len": 8192}
        conn.respond(200, json.dumps({"object": "list", "data": [card]}).encode())

    def _version(self, conn: Connection, _request: Request) -> None:
        conn.respond(200, json.dumps({"version": self.options.version}).encode())

    def _echo(self, conn: Connection, request: Request) -> None:
        digest = request.digest.hexdigest() if request.digest else None
        conn.respond(200, json.dumps({
            "method": request.method, "path": request.target, "version": request.version,
            "headers": request.headers, "body_bytes": len(request.body), "body_sha256": digest,
            "chunked": request.chunked, "trailers": request.trailers,
            "peer_certificate": conn.peer_certificate(),
        }).encode())

    def _bytes(self, conn: Connection, request: Request) -> None:
        text = request.path[len("/bytes/"):]
        if not text.isdigit():
            conn.respond(400, error_body("/bytes/N wants a number", 400))
            return
        total = int(text)
        chunked = request.query("chunked") is not None
        if total <= PIECE_BYTES and not chunked:
            conn.respond(200, FILLER[:total], "application/octet-stream")
        elif conn.start_stream(200, "application/octet-stream", None if chunked else total):
            self._pump(conn, total)

    def _pump(self, conn: Connection, left: int) -> None:
        """Sends as long as the client takes it."""
        while left and not conn.paused and not conn.transport.is_closing():
            size = min(left, PIECE_BYTES)
            conn.send([FILLER[:size]])
            left -= size
        if left:
            conn.on_resume = lambda: self._pump(conn, left)
        else:
            conn.end_stream()

    def _chat(self, conn: Connection, request: Request) -> None:
        self._generate(conn, request, chat=True)

    def _completions(self, conn: Connection, request: Request) -> None:
        self._generate(conn, request, chat=False)

    def _generate(self, conn: Connection, request: Request, chat: bool) -> None:
        if request.method != "POST":
            conn.respond(405, b'{"detail":"Method Not Allowed"}')
            return
        ask, fault = self._parse_ask(request, chat)
        if fault:
            status = 404 if "does not exist" in fault else 400
            conn.respond(status, error_body(fault, status))
            return
        generation = Generation(self.engine, conn, ask, chat)
        conn.on_lost = generation.abort
        if not self.engine.admit(generation):
            conn.on_lost = None
            conn.respond(503, error_body("too many requests wait", 503), extra="retry-after: 1\r\n")
        elif generation.streamed and not conn.start_stream(200, "text/event-stream; charset=utf-8"):
            conn.on_lost = None  # the fault in force is about to reset the connection
            generation.abort()

    def _parse_ask(self, request: Request, chat: bool) -> Any:
        try:
            ask = json.loads(bytes(request.body))
        except ValueError:
            return {}, "the body is not JSON"
        if not isinstance(ask, dict) or ("messages" if chat else "prompt") not in ask:
            return {}, f"'{'messages' if chat else 'prompt'}' is required"
        limit = ask.get("max_completion_tokens") or ask.get("max_tokens")
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            return {}, "max_tokens must be a positive integer"
        if ask.get("model", self.options.model) != self.options.model:
            return {}, f"The model `{ask['model']}` does not exist."
        return ask, ""

    # -- control -------------------------------------------------------------------------------

    def _control(self, conn: Connection, request: Request) -> None:
        if request.method == "POST":
            try:
                wanted = json.loads(bytes(request.body))
                close_idle = wanted.pop("close_idle_now", False)
                self.faults.update(wanted)
            except (ValueError, AttributeError, TypeError) as error:
                conn.respond(400, error_body(str(error), 400))
                return
            if close_idle:
                self._close_idle(conn)
            if "refuse" in wanted:
                task = self.loop.create_task(self._apply_refuse())
                task.add_done_callback(lambda done: self._answer_control(conn, done))
                return
        conn.respond(200, self._state())

    def _answer_control(self, conn: Connection, done: "asyncio.Task[None]") -> None:
        error = done.exception()
        if error is not None:
            conn.respond(500, error_body(str(error), 500))
        else:
            conn.respond(200, self._state())

    def _close_idle(self, but: Connection) -> None:
        for conn in list(self.connections):
            if conn is not but and not conn.busy:
                # The FIN leaves before the answer to this call: close() alone waits for a loop turn.
                if conn.transport.get_extra_info("sslcontext") is None and not conn.transport.is_closing():
                    with contextlib.suppress(OSError):
                        conn.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
                conn.transport.close()

    def _state(self) -> bytes:
        return json.dumps({
            "address": self.address, "version": self.options.version, "pid": os.getpid(),
            "faults": dataclasses.asdict(self.faults), "requests": self.requests_total,
            "probes": self.probes_total, "aborted": self.aborted_total,
            "last_abort_monotonic": self.last_abort_monotonic,
            "connections": len(self.connections), "connections_total": self.connections_total,
            "running": len(self.engine.running), "waiting": len(self.engine.waiting),
            "rejected": self.engine.rejected, "generated_tokens": self.engine.generated_tokens,
        }).encode()

    def _own_metrics(self) -> List[str]:
        out: List[str] = []
        for kind, name, value in (
            ("counter", "demo:requests_total", self.requests_total),
            ("counter", "demo:aborted_total", self.aborted_total),
            ("counter", "demo:rejected_total", self.engine.rejected),
            ("counter", "demo:connections_total", self.connections_total),
            ("gauge", "demo:connections", len(self.connections)),
        ):
            out += [f"# TYPE {name} {kind}", f"{name} {value}"]
        return out


def error_body(message: str, status: int) -> bytes:
    """An error in the shape vLLM uses."""
    kind = {404: "NotFoundError", 503: "ServiceUnavailable"}.get(status, "BadRequestError")
    return json.dumps({"error": {"message": message, "type": kind, "param": None,
                                 "code": status}}).encode()


def format_address(sock: Any) -> str:
    """IP:PORT of a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if sock.family == socket.AF_INET6 else f"{host}:{port}"


def tls_context(files: str) -> ssl.SSLContext:
    """Server context from "cert,key[,client-ca]"; with a client CA a certificate is required."""
    cert, key, *client_ca = files.split(",")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["http/1.1"])
    if client_ca:
        context.load_verify_locations(client_ca[0])
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def parse_options(argv: List[str]) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bind", default="127.0.0.1:0", help="IP:PORT or unix:/path")
    parser.add_argument("--control", default="", help="IP:PORT for /_control only")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--version", default="v1")
    parser.add_argument("--slots", type=int, default=256, help="concurrent generations")
    parser.add_argument("--queue", type=int, default=1024, help="how many may wait for a slot")
    parser.add_argument("--ttft-ms", type=float, default=0.0)
    parser.add_argument("--token-rate", type=float, default=0.0, help="tokens/s, 0 = at once")
    parser.add_argument("--tokens", type=int, default=16, help="length of a completion")
    parser.add_argument("--keepalive-s", type=float, default=5.0)
    parser.add_argument("--tls", default="", help="CERT,KEY[,CLIENT_CA]")
    parser.add_argument("--faults", default="{}", help='JSON as for /_control: {"status": 500}')
    return parser.parse_args(argv)


async def serve(options: argparse.Namespace) -> None:
    """Runs until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    server = ModelServer(loop, options)
    if options.control:
        print(f"control {await server.listen_control(options.control)}", flush=True)
    await server.listen()
    address = server.address
    if server.faults.refuse:
        await server._apply_refuse()
    print(f"listening {address}", flush=True)
    await stop.wait()


def main(argv: List[str]) -> int:
    """Entry point."""
    try:
        asyncio.run(serve(parse_options(argv)))
    except OSError as error:
        print(f"model_server: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
