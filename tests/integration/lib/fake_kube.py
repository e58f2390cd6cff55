# SPDX-License-Identifier: Apache-2.0
"""An API server that can misbehave: lists and watches two kinds of objects, and does on demand what
a real one does once a month.

It keeps objects and versions and answers lists and watches well. A test may script the next
requests: each element of `script` is called with (connection, request) before the server would
answer, and returns True when it did so itself; it stays at the head of the script until it returns
None or True and is then removed.
"""

import json
import socket
import ssl
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional
from urllib.parse import parse_qs, urlsplit

import yaml

from lib.ca import Cert
from lib.wait import wait_until

SLICES = "/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices"
PODS = "/api/v1/namespaces/prod/pods"


class Request(NamedTuple):
    """One request as it came. at: time.monotonic() of its arrival."""

    path: str
    query: Dict[str, str]
    headers: Dict[str, str]
    at: float

    @property
    def is_watch(self) -> bool:
        """Whether it asks for a watch."""
        return self.query.get("watch") in ("1", "true")


class Connection:
    """A connection of a client. Methods may be called from any thread."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.lock = threading.Lock()
        self.open = True

    def send(self, data: bytes) -> None:
        """Sends bytes as they are; a client that is gone is no error."""
        with self.lock:
            try:
                self.sock.sendall(data)
            except OSError:
                self.open = False

    def answer(self, status: int, body: Any, headers: Optional[Dict[str, str]] = None) -> None:
        """A whole response; body: bytes, or what becomes JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(data)}",
                 *(f"{name}: {value}" for name, value in (headers or {}).items())]
        self.send("\r\n".join([*lines, "", ""]).encode() + data)

    def head(self) -> None:
        """The head of a watch."""
        self.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n")

    def chunk(self, data: bytes) -> None:
        """One chunk."""
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def event(self, kind: str, obj: Any) -> None:
        """One event, in one chunk, as a real server does it."""
        self.chunk(json.dumps({"type": kind, "object": obj}).encode() + b"\n")

    def end(self) -> None:
        """The end of a watch, in order."""
        self.send(b"0\r\n\r\n")

    def cut(self) -> None:
        """Closes without a word."""
        self.open = False
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the client was faster


Step = Callable[[Connection, Request], Optional[bool]]


def endpoint(address: str, pod: str = "", **conditions: Optional[bool]) -> Dict[str, Any]:
    """An endpoint of a slice."""
    made: Dict[str, Any] = {"addresses": [address], "conditions": conditions}
    if pod:
        made["targetRef"] = {"kind": "Pod", "namespace": "prod", "name": pod, "uid": f"uid-{pod}"}
    return made


def slice_of(name: str, endpoints: Optional[List[Dict[str, Any]]],
             **more: Any) -> Dict[str, Any]:
    """An EndpointSlice with one port "http"."""
    return {"metadata": {"name": name, "namespace": "prod", "uid": f"uid-{name}"},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "http", "protocol": "TCP", "port": 8000}], **more}


def status_body(code: int, message: str) -> Dict[str, Any]:
    """A Status object, as errors are told."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "code": code}


class FakeKube:
    """The server, on a port of the kernel's choice; with a certificate it speaks TLS."""

    def __init__(self, cert: Optional[Cert] = None) -> None:
        self.context: Optional[ssl.SSLContext] = None
        if cert is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(cert.cert, cert.key)
        self.tokens = {"secret"}  # valid ones; empty: everybody may
        self.version = 100
        self.oldest = 0  # watches from before are told 410
        self.objects: Dict[str, Dict[str, Any]] = {SLICES: {}, PODS: {}}
        self.history: List[Any] = []  # (path, version, type, object)
        self.watches: List[Any] = []  # (path, connection)
        self.requests: List[Request] = []
        self.script: List[Step] = []
        self.lock = threading.RLock()
        self.connections: List[Connection] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.stopped = False
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self) -> str:
        """Where it is."""
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"

    def kubeconfig(self, path: Any, token_file: Any) -> str:
        """Writes a kubeconfig that leads here, and the token that is valid."""
        token_file.write_text("secret\n")
        path.write_text(yaml.safe_dump({
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u",
                                                   "namespace": "prod"}}],
            "clusters": [{"name": "k", "cluster": {"server": self.url()}}],
            "users": [{"name": "u", "user": {"tokenFile": str(token_file)}}]}))
        return str(path)

    # -- objects -------------------------------------------------------------------------------

    def put(self, obj: Dict[str, Any], path: str = SLICES, tell: bool = True) -> None:
        """Adds or replaces an object; tell=False: watches never hear of it."""
        obj["metadata"].setdefault("namespace", "prod")  # as in targetRef of endpoint()
        with self.lock:
            name = obj["metadata"]["name"]
            kind = "MODIFIED" if name in self.objects[path] else "ADDED"
            self.version += 1
            obj["metadata"]["resourceVersion"] = str(self.version)
            self.objects[path][name] = obj
            self._publish(path, kind, obj, tell)

    def remove(self, name: str, path: str = SLICES, tell: bool = True) -> None:
        """Deletes an object."""
        with self.lock:
            obj = self.objects[path].pop(name)
            self.version += 1
            gone = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
            self._publish(path, "DELETED", gone, tell)

    def _publish(self, path: str, kind: str, obj: Dict[str, Any], tell: bool) -> None:
        if not tell:
            return
        self.history.append((path, self.version, kind, obj))
        for of, connection in self.watches:
            if of == path and connection.open:
                connection.event(kind, obj)

    def forget(self) -> None:
        """What a restart does: no watch can begin before now."""
        with self.lock:
            self.version += 1
            self.oldest = self.version
            self.history = []

    # -- watches -------------------------------------------------------------------------------

    def watch(self, path: str = SLICES, deadline_s: float = 10.0) -> Connection:
        """The open watch of a kind of objects, once there is one."""
        def find() -> Optional[Connection]:
            with self.lock:
                found = [c for of, c in self.watches if of == path and c.open]
                return found[-1] if found else None
        found = wait_until(find, deadline_s, f"a watch of {path}", lambda: self.requests[-5:])
        assert found is not None
        return found

    def close_watches(self, how: Callable[[Connection], None]) -> None:
        """Ends all watches in some way; none of them hears of anything after that."""
        with self.lock:
            for _, connection in self.watches:
                how(connection)
            self.watches = []

    def seen(self, watches: bool, path: str = SLICES) -> List[Request]:
        """The requests so far, of one kind."""
        with self.lock:
            return [r for r in self.requests if r.path == path and r.is_watch == watches]

    # -- serving -------------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_side=True)
            connection = Connection(sock)
            with self.lock:
                self.connections.append(connection)
            with sock, sock.makefile("rb") as reader:
                while not self.stopped:
                    request = read_request(reader)
                    if request is None:
                        break
                    self._handle(connection, request)
            connection.open = False
        except OSError:
            pass  # the client went away, or refused our certificate: that is what tests do

    def _handle(self, connection: Connection, request: Request) -> None:
        if "sendInitialEvents" in request.query:  # an old one: unseen, so that tests begin with lists
            connection.answer(422, status_body(422, "sendInitialEvents is forbidden for watch"))
            return
        with self.lock:
            self.requests.append(request)
            step = self.script[0] if self.script else None
        if step is not None:
            done = step(connection, request)
            with self.lock:
                if done is not False and self.script and self.script[0] is step:
                    self.script.pop(0)
            if done is not None:
                return
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.tokens and token not in self.tokens:
            connection.answer(401, status_body(401, "Unauthorized"))
            return
        with self.lock:
            if request.path not in self.objects:
                connection.answer(404, status_body(404, "not found"))
            elif request.is_watch:
                self._open_watch(connection, request)
            else:
                items = list(self.objects[request.path].values())
                connection.answer(200, {"metadata": {"resourceVersion": str(self.version)},
                                        "items": items})

    def _open_watch(self, connection: Connection, request: Request) -> None:
        since = int(request.query["resourceVersion"])
        connection.head()
        if since < self.oldest:
            connection.event("ERROR", status_body(410, f"too old resource version: {since}"))
            connection.end()
            return
        for path, version, kind, obj in self.history:
            if path == request.path and version > since:
                connection.event(kind, obj)
        self.watches.append((request.path, connection))

    def stop(self) -> None:
        """Closes everything."""
        self.stopped = True
        self.listener.close()
        with self.lock:
            for connection in self.connections:
                connection.cut()


def read_request(reader: Any) -> Optional[Request]:
    """The next request of a connection; none has a body."""
    lines = []
    for line in iter(reader.readline, b"\r\n"):
        if not line.endswith(b"\r\n"):
            return None
        lines.append(line.decode().rstrip("\r\n"))
    target = urlsplit(lines[0].split(" ")[1])
    query = {name: values[0]
             for name, values in parse_qs(target.query, keep_blank_values=True).items()}
    headers = {name.lower(): value.strip()
               for name, _, value in (line.partition(":") for line in lines[1:])}
    return Request(target.path, query, headers, time.monotonic())


def refuse(code: int, message: str = "no", headers: Optional[Dict[str, str]] = None) -> Step:
    """A step that answers one request with an error."""
    def step(connection: Connection, _: Request) -> bool:
        body = status_body(code, message) if code != 429 else message.encode()
        connection.answer(code, body, headers)
        return True
    return step
