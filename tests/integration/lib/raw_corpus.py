# SPDX-License-Identifier: Apache-2.0
"""Raw requests and responses, with what a strict proxy makes of them: one place for all vectors.

Most are of the kind that two parsers read differently; each is followed by a request that must
never be seen where it is part of something else.
"""

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


class Seen(NamedTuple):
    """A request as the upstream must see it."""

    method: str
    target: str
    body: bytes = b""


class Vector(NamedTuple):
    """What a client sends, what the upstream sees of it, and the statuses that come back."""

    data: bytes
    seen: Sequence[Seen]
    statuses: Sequence[int]
    closes: bool  # the connection ends after the last of them


class Answer(NamedTuple):
    """What an upstream answers; the client gets status and body, or a cut response (None)."""

    data: bytes
    status: Optional[int]
    body: bytes = b""
    reused: bool = False  # another request may go over the connection
    method: str = "GET"
    ends: bool = False  # the upstream closes behind it


def good(data: bytes, *seen: Seen, statuses: Optional[List[int]] = None,
         closes: bool = False) -> Vector:
    """Requests that are forwarded."""
    return Vector(data, seen, statuses or [200] * len(seen), closes)


def bad(data: bytes, status: int = 400) -> Vector:
    """A request that is refused, whatever follows it."""
    return Vector(data + SMUGGLED, (), [status], True)


def with_fields(fields: bytes, body: bytes = b"", method: bytes = b"POST") -> bytes:
    """A request with these field lines."""
    return method + b" /x HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n\r\n" + body


def coded(value: bytes) -> bytes:
    """A request with this Transfer-Encoding."""
    return with_fields(b"Transfer-Encoding:" + value, b"0\r\n\r\n")


def sized(value: bytes) -> bytes:
    """A request of five bytes with this Content-Length."""
    return with_fields(b"Content-Length:" + value, b"hello")


def chunks(body: bytes) -> bytes:
    """A request with this chunked body."""
    return with_fields(b"Transfer-Encoding: chunked", body)


def line(start: bytes, host: bytes = b"Host: a\r\n") -> bytes:
    """A request without more than its first line."""
    return start + b"\r\n" + host + b"\r\n"


X = Seen("POST", "/x", b"hello")
GET = Seen("GET", "/x")

LENGTH_AND_CODING: Dict[str, Vector] = {
    name: bad(with_fields(fields, b"0\r\n\r\n")) for name, fields in {
        "length first": b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        "coding first": b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        "length zero": b"Content-Length: 0\r\nTransfer-Encoding: chunked",
        "coding unknown": b"Content-Length: 5\r\nTransfer-Encoding: x",
        "coding empty": b"Content-Length: 5\r\nTransfer-Encoding:",
        "length empty": b"Content-Length:\r\nTransfer-Encoding: chunked",
        "coding in capitals": b"CONTENT-LENGTH: 5\r\nTRANSFER-ENCODING: CHUNKED",
        "coding with a list": b"Content-Length: 5\r\nTransfer-Encoding: gzip, chunked",
        "length of what follows": b"Content-Length: %d\r\nTransfer-Encoding: chunked"
                                  % (5 + len(SMUGGLED)),
        "two lengths": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
        "coding between": b"X: y\r\nTransfer-Encoding: chunked\r\nX: z\r\nContent-Length: 0",
    }.items()
}
LENGTH_AND_CODING["of a get"] = bad(with_fields(
    b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n", b"GET"))
LENGTH_AND_CODING["of http/1.0"] = bad(
    b"POST /x HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"0\r\n\r\n")

CODING: Dict[str, Vector] = {
    **{f"400 {value!r}": bad(coded(value)) for value in (
        b" ,chunked", b" chunked,", b" chunked,chunked", b" chunked, chunked",
        b" chunked, identity", b"", b" ", b" \x0bchunked", b" chunked\x0b", b" \xa0chunked",
        b" chunked\xa0",
        b" \x85chunked", b" chunked\x85", b" \xc2\xa0chunked", b" chunked\x0c", b"\x0cchunked",
        b" \x00chunked", b" chunked\r\nTransfer-Encoding:", b"\r\nTransfer-Encoding: chunked",
        b"\n chunked", b" chunked\n", b" chunked;a=b", b" \"chunked\"", b" chunked\x00", b" chunked\r",
        b" chunked\r\nTransfer-Encoding: chunked", b" chunked\r\nTransfer-Encoding: identity",
        b" identity\r\nTransfer-Encoding: chunked", b" chunked\r\n chunked", b" chunked chunked")},
    **{f"501 {value!r}": bad(coded(value), 501) for value in (
        b" xchunked", b" identity", b" gzip, chunked", b" chunkedx", b" chunk", b" 'chunked'")},
    "tab behind": good(coded(b" chunked\t"), Seen("POST", "/x")),
    "upper case": good(coded(b" Chunked"), Seen("POST", "/x")),
    "no blank": good(coded(b"chunked"), Seen("POST", "/x")),
    "http/1.0": bad(b"POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    **{f"name {name!r}": bad(with_fields(name + b": chunked", b"0\r\n\r\n")) for name in (
        b"Transfer-Encoding ", b"Transfer-Encoding\t", b" Transfer-Encoding",
        b"Transfer-Encoding\x00", b"Transfer-Encoding\r", b"Transfer\x00-Encoding",
        b"X: y\rTransfer-Encoding", b"X: y\nTransfer-Encoding", b"\x0bTransfer-Encoding",
        b"Transfer-Encoding\xa0", b"Transfer Encoding")},
    "tab in front": good(coded(b"\tchunked"), Seen("POST", "/x")),
    "of a get": good(with_fields(b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n", b"GET"),
                     Seen("GET", "/x", b"hello")),
    "of a get, a request inside": good(
        with_fields(b"Transfer-Encoding: chunked",
                    b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED), b"GET"),
        Seen("GET", "/x", SMUGGLED)),
    "underscore alone": good(with_fields(b"Transfer_Encoding: chunked", b"", b"GET"), GET),
    "name with underscore": good(with_fields(b"Transfer_Encoding: chunked\r\nContent-Length: 5",
                                             b"hello"), X),
}

LENGTH: Dict[str, Vector] = {
    **{repr(value): bad(sized(value)) for value in (
        b"", b" ", b" +5", b" -5", b" 5_0", b" 0x5", b" 05", b" 005", b" 5 5", b" 5,5", b" 5, 5",
        b" 5,", b" 5;", b" 5.0", b" 5e0", b" 9223372036854775808", b" 18446744073709551621",
        b" 99999999999999999999", b" 4294967301x", b" \xb2", b" five", b" 5\x00", b" \x0b5",
        b" 5\r\nContent-Length: 5", b" 5\r\nContent-Length: 6", b"\r\nContent-Length: 5",
        b" 5\r\nContent-Length:", b" 5\r\n 5", b" 00", b"\r\nContent-Length:",
        b" 5\r\nContent-Length: 5\r\nContent-Length: 5", b" 0\r\nContent-Length: 5", b" 5\x0b",
        b" 5\x0c", b" 5\xa0", b"\xa05", b" \xd9\xa5", b" 5\t5", b" ,5", b" 5\r", b" 5\n", b" -0",
        b" +0", b" 0x0", b" 1_0", b" 010", b" 0b1", b" 1e1", b" 5;5", b" \"5\"",
        b" 36893488147419103237")},
    **{f"name {name!r}": bad(with_fields(name + b": 5", b"hello")) for name in (
        b"Content-Length ", b"Content-Length\t", b" Content-Length", b"Content-Length\x00",
        b"Content-Length\r", b"Content\x00-Length", b"X: y\rContent-Length",
        b"X: y\nContent-Length", b"Content-Length\xa0", b"Content Length")},
    **{f"413 {value!r}": bad(sized(value), 413) for value in (
        b" 9223372036854775807", b" 4294967301", b" 67108865")},
    "of a delete": good(with_fields(b"Content-Length: 5", b"hello", b"DELETE"),
                        Seen("DELETE", "/x", b"hello")),
    "of a head": good(with_fields(b"Content-Length: %d" % len(SMUGGLED), SMUGGLED, b"HEAD"),
                      Seen("HEAD", "/x", SMUGGLED)),
    "blanks around": good(sized(b" \t5 \t"), X),
    "of a get": good(with_fields(b"Content-Length: 5", b"hello", b"GET"),
                     Seen("GET", "/x", b"hello")),
    "of a get, a request inside": good(
        with_fields(b"Content-Length: %d" % len(SMUGGLED), SMUGGLED, b"GET"),
        Seen("GET", "/x", SMUGGLED)),
    "zero": good(with_fields(b"Content-Length: 0"), Seen("POST", "/x")),
    "underscore": good(with_fields(b"Content_Length: 50", b"", b"GET"), GET),
}

CHUNKS: Dict[str, Vector] = {
    **{repr(body)[:40] + f" {i}": bad(chunks(body)) for i, body in enumerate((
        # sizes
        b"0x5\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n",
        b"0_5\r\nhello\r\n0\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n", b"\t5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n", b"1these-bytes\r\nx\r\n0\r\n\r\n",
        b"0_2e\r\nhello\r\n0\r\n\r\n", b"\r\nhello\r\n0\r\n\r\n", b";a=b\r\nhello\r\n0\r\n\r\n",
        b"g\r\nhello\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n", b"8000000000000000\r\nhello\r\n0\r\n\r\n",
        b"00000000000000005\r\nhello\r\n0\r\n\r\n", b"5h\r\nhello\r\n0\r\n\r\n",
        b"\x005\r\nhello\r\n0\r\n\r\n", b"5\x00\r\nhello\r\n0\r\n\r\n",
        b"0x\r\nhello\r\n0\r\n\r\n", b"5_\r\nhello\r\n0\r\n\r\n", b"5.\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        b"fffffffffffffffb\r\nhello\r\n0\r\n\r\n", b"\xef\xbc\x95\r\nhello\r\n0\r\n\r\n",
        b"5\xa0\r\nhello\r\n0\r\n\r\n", b"5\x0b\r\nhello\r\n0\r\n\r\n", b"5,5\r\nhello\r\n0\r\n\r\n",
        b"0 \r\n\r\n", b"0x\r\n\r\n", b"0x0\r\n\r\n", b"-0\r\n\r\n", b"+0\r\n\r\n", b"0_0\r\n\r\n",
        b"00000000000000000\r\n\r\n", b"0\x00\r\n\r\n",
        # extensions
        b"5\r;a\r\nhello\r\n0\r\n\r\n", b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n", b"5;a\n\r\nhello\r\n0\r\n\r\n",
        b"5;a=\"\r\nhello\r\n0\r\n\r\n\"\r\n", b"5;a=\"x\nx\"\r\nhello\r\n0\r\n\r\n",
        b"5;\r\nhello\r\n0\r\n\r\n", b"5;a=\r\nhello\r\n0\r\n\r\n", b"5;=b\r\nhello\r\n0\r\n\r\n",
        b"5;a=b c\r\nhello\r\n0\r\n\r\n", b"5;" + b"a" * 8200 + b"\r\nhello\r\n0\r\n\r\n",
        b"0;a\rb\r\n\r\n", b"0;a\n\r\n\r\n", b"5\r\r\nhello\r\n0\r\n\r\n",
        b"5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n", b"5;a=\"\\\r\n\"\r\nhello\r\n0\r\n\r\n",
        b"5;a=\"b\r\nhello\r\n0\r\n\r\n", b"5;a=\x00\r\nhello\r\n0\r\n\r\n", b"5;;\r\nhello\r\n0\r\n\r\n",
        b"5;a\r\rhello\r\n0\r\n\r\n", b"5 ;a\nhello\r\n0\r\n\r\n",
        # ends
        b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello\rX0\r\n\r\n",
        b"5\r\nhello\r\r\n0\r\n\r\n", b"5\r\nhelloXX0\r\n\r\n", b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\r\n\r\n0\r\n\r\n", b"5\r\nhelloX\r\n0\r\n\r\n", b"5\rXhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\n\r\n", b"5\r\nhello\r\n0\r\n\n", b"5\r\nhello\r\n0\r\n\rX",
        b"5\r\nhello\r\n0\r\rX",
        b"5\r\nhello\r\nXX\r\n0\r\n\r\n", b"5\r\nhello\rXX0\r\n\r\n",
        b"5\r\n\nhello\r\n0\r\n\r\n", b"5\nhello\n0\n\n", b"5\rhello\r0\r\r",
        b"5\r\nhello\r\n\r\n\r\n0\r\n\r\n", b"5\r\nhello\n\r0\r\n\r\n", b"0\n\n", b"0\r\n\n",
        # the empty line is missing: what follows would be a trailer
        b"0\r\n", b"5\r\nhello\r\n0\r\n", b"0",
        # trailers
        b"0\r\nX\r\n\r\n", b"0\r\nX : y\r\n\r\n", b"0\r\nX: y\n\r\n", b"0\r\n X: y\r\n\r\n",
        b"0\r\nX: y\r\n z\r\n\r\n", b"0\r\n: y\r\n\r\n", b"0\r\nX: \x00\r\n\r\n",
        b"0\r\nX: y\rz\r\n\r\n"))},
    "many trailers": bad(chunks(b"0\r\n" + b"X: y\r\n" * 70 + b"\r\n"), 431),
    "large trailers": bad(chunks(b"0\r\nX: " + b"y" * 9000 + b"\r\n\r\n"), 431),
    "plain": good(chunks(b"5\r\nhello\r\n0\r\n\r\n"), X),
    "pieces": good(chunks(b"1\r\nh\r\n003\r\nell\r\n0001\r\no\r\n000\r\n\r\n"), X),
    "sixteen digits": good(chunks(b"0000000000000005\r\nhello\r\n0\r\n\r\n"), X),
    "extensions": good(chunks(b"5;a;b=c;d=\"e;\\\"f\" ; g\r\nhello\r\n0;z=\"\"\r\n\r\n"), X),
    "trailers": good(chunks(b"5\r\nhello\r\n0\r\nX-T: v\r\nContent-Length: 9\r\n\r\n"), X),
    "a request inside": good(chunks(b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
                             Seen("POST", "/x", SMUGGLED)),
    "upper case": good(chunks(b"A\r\n0123456789\r\n0\r\n\r\n"), Seen("POST", "/x", b"0123456789")),
}

FIELDS: Dict[str, Vector] = {
    **{repr(field): bad(with_fields(field, b"", b"GET")) for field in (
        b"X: a\nY: b", b"X: a\rY: b", b"X: a\x00b", b"X\x00: a", b"X: a\r\n b", b"X : a", b"X\t: a",
        b": a", b"X", b"X\x80: a", b"\xffX: a", b"X(: a", b"X/Y: a", b"X: a\x01b", b"X: a\x7fb",
        b"X@: a", b"\"X\": a", b"X Y: a", b"X: a\r", b"X: a\n", b"\x0bX: a", b"X: a\x0bb",
        b"Connection: a b", b"Connection: (", b"Host: a", b"Host: b")},
    "first is folded": bad(b"GET /x HTTP/1.1\r\n Host: a\r\n\r\n"),
    "first has a tab": bad(b"GET /x HTTP/1.1\r\n\tHost: a\r\n\r\n"),
    "fold behind the line": bad(b"GET /x HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n"),
    "bare lf ends the head": bad(b"GET /x HTTP/1.1\nHost: a\n\n"),
    "bare lf before the end": bad(b"GET /x HTTP/1.1\r\nHost: a\n\r\n"),
    "bare lf is the end": bad(b"GET /x HTTP/1.1\r\nHost: a\r\n\n"),
    "100 fields": good(with_fields(b"\r\n".join(b"X-%d: v" % i for i in range(99)), b"", b"GET"),
                       GET),
    "101 fields": bad(with_fields(b"\r\n".join(b"X-%d: v" % i for i in range(100)), b"", b"GET"),
                      431),
    "large": good(with_fields(b"X: " + b"v" * 60000, b"", b"GET"), GET),
    "too large": bad(with_fields(b"X: " + b"v" * 66000, b"", b"GET"), 431),
    "latin-1 value": good(with_fields(b"X: \xe9\xff", b"", b"GET"), GET),
    "empty value": good(with_fields(b"X:", b"", b"GET"), GET),
    "connection names a forwarded field": good(
        with_fields(b"Connection: x-forwarded-for, x-y, host, content-length\r\nX-Y: 1\r\n"
                    b"Content-Length: 5", b"hello"), X),
    "upgrade that is not taken up": good(
        with_fields(b"Connection: upgrade\r\nUpgrade: websocket", b"", b"GET"), GET),
    "upgrade with a body": good(
        with_fields(b"Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 5", b"hello"), X),
    "upgrade with a request in chunks": good(
        with_fields(b"Connection: upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked",
                    b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
        Seen("POST", "/x", SMUGGLED)),
    "connection names everything": good(
        with_fields(b"Connection: close, transfer-encoding, content-length, host, connection, te, x\r\n"
                    b"X: 1\r\nContent-Length: 5", b"hello"), X, closes=True),
    "connection names the coding": good(
        with_fields(b"Connection: transfer-encoding\r\nTransfer-Encoding: chunked",
                    b"5\r\nhello\r\n0\r\n\r\n"), X),
    "underscores": good(with_fields(b"X_Forwarded_For: 1\r\nX-Forwarded-For: 2", b"", b"GET"), GET),
}

TCHAR = b"!#$%&'*+-.^_`|~" + bytes(range(0x30, 0x3a)) + bytes(range(0x41, 0x5b)) + bytes(
    range(0x61, 0x7b))
# RFC 9110 5.5: what a value may be made of.
FIELD_CHAR = b"\t" + bytes(range(0x20, 0x7f)) + bytes(range(0x80, 0x100))


def one_byte(byte: int, template: bytes, good_ones: bytes) -> Vector:
    """A field line with this byte in it."""
    data = with_fields(template % bytes([byte]), b"", b"GET")
    return good(data, GET) if byte in good_ones else bad(data)


EVERY_BYTE: Dict[str, Vector] = {
    **{f"in a name {byte:02x}": one_byte(byte, b"X%bY: a", TCHAR + b":") for byte in range(256)},
    **{f"in front of a name {byte:02x}": one_byte(byte, b"%bX: a", TCHAR) for byte in range(256)},
    **{f"behind a name {byte:02x}": one_byte(byte, b"X%b: a", TCHAR + b":") for byte in range(256)},
    **{f"in a value {byte:02x}": one_byte(byte, b"X: a%bb", FIELD_CHAR) for byte in range(256)},
    **{f"behind a value {byte:02x}": one_byte(byte, b"X: a%b", FIELD_CHAR) for byte in range(256)},
    **{f"in a method {byte:02x}": (
        good(line(b"G%bT /x HTTP/1.1" % bytes([byte])), Seen("G%cT" % byte, "/x"))
        if byte in TCHAR else bad(line(b"G%bT /x HTTP/1.1" % bytes([byte]))))
       for byte in range(256) if byte != 0x20},
}

START_LINES: Dict[str, Vector] = {
    **{repr(start)[:60]: bad(line(start)) for start in (
        b"GET\n/x HTTP/1.1", b"GET  /x HTTP/1.1", b"GET /x  HTTP/1.1", b"GET\t/x HTTP/1.1",
        b" GET /x HTTP/1.1", b"GET /x HTTP/1.1\rX", b"G(T /x HTTP/1.1",
        b"G\x80T /x HTTP/1.1", b"GE:T /x HTTP/1.1", b"GET x HTTP/1.1", b"GET * HTTP/1.1",
        b"GET /x#y HTTP/1.1", b"GET http:///x HTTP/1.1", b"GET http://b/x HTTP/1.1",
        b"GET ftp://a/x HTTP/1.1", b"GET http:/a/x HTTP/1.1", b"GET http://a,b/x HTTP/1.1",
        b"GET http://u@a/x HTTP/1.1", b"GET /\x00 HTTP/1.1", b"GET /\x80 HTTP/1.1",
        b"GET /a\\b HTTP/1.1", b"GET /%00 HTTP/1.1", b"GET /%2e%2e/x HTTP/1.1",
        b"GET /%zz HTTP/1.1", b"GET /..;/x HTTP/1.1", b"GET /x HTTP/1.10", b"GET /x HTTP/01.1",
        b"GET /x HTTP/1.257", b"GET /x HTTP/257.1", b"GET /x HTTP/1,1", b"GET /x http/1.1",
        b"GET /x HTTP /1.1", b"GET /x HTTP/1.1 ", b"GET /x HTTP/1.1 x", b"GET /x HTTP/",
        b"GET /x ICAP/1.1", b"GET /x HTTP/-1.1", b"GET /x HTTP/1.", b"\x00GET /x HTTP/1.1",
        b"\x16\x03\x01\x00\xa5\x01")},
    **{repr(start): bad(line(start), 505) for start in (
        b"GET /x", b"GET /x\tHTTP/1.1", b"GET /x HTTP/2.0", b"GET /x HTTP/1.2", b"PRI * HTTP/2.0")},
    **{f"host {host!r}": bad(line(b"GET /x HTTP/1.1", host)) for host in (
        b"", b"Host:\r\n", b"Host: a\x00b\r\n", b"Host: a,b\r\n", b"Host: a b\r\n",
        b"Host: a/b\r\n", b"Host: u@a\r\n", b"Host: a:b\r\n", b"Host: a:65536\r\n",
        b"Host: a\r\nhost: a\r\n", b"Host: [::1\r\n", b"Host: a?b\r\n", b"Host: a#b\r\n")},
    "cr cr": bad(b"GET /x HTTP/\r\r1.1\r\nHost: a\r\n\r\n"),
    "two spaces": bad(line(b"GET /x  HTTP/1.1")),
    "http/0.9 with a host": bad(b"GET /x\r\nHost: a\r\n\r\n", 505),
    "host with a fold": bad(b"GET /x HTTP/1.1\r\nHost:\r\n a\r\n\r\n"),
    "two empty lines": bad(b"\r\n\r\n" + line(b"GET /x HTTP/1.1")),
    "long": bad(line(b"GET /" + b"x" * 16400 + b" HTTP/1.1"), 414),
    "one empty line": good(b"\r\n" + line(b"GET /x HTTP/1.1"), GET),
    "absolute": good(line(b"GET http://a/x?y=%20 HTTP/1.1"), Seen("GET", "/x?y=%20")),
    "absolute, port": good(line(b"GET http://a:80/x HTTP/1.1"), GET),
    "absolute, no path": good(line(b"GET http://a HTTP/1.1"), Seen("GET", "/")),
    "dot segments": good(line(b"GET /a/./b/../c HTTP/1.1"), Seen("GET", "/a/c")),
    "odd method": good(line(b"M-SEARCH /x HTTP/1.1"), Seen("M-SEARCH", "/x")),
    "unknown method": good(line(b"!#$%&'*+.^_`|~ /x HTTP/1.1"), Seen("!#$%&'*+.^_`|~", "/x")),
    "lower case method": good(line(b"get /x HTTP/1.1"), Seen("get", "/x")),
    "asterisk": good(line(b"OPTIONS * HTTP/1.1"), Seen("OPTIONS", "*")),
    "asterisk, absolute": good(line(b"OPTIONS http://a HTTP/1.1"), Seen("OPTIONS", "*")),
    "slash escaped": good(line(b"GET /a%2fb HTTP/1.1"), Seen("GET", "/a%2Fb")),
    "above the root": good(line(b"GET /../x HTTP/1.1"), GET),
    "head": good(line(b"HEAD /x HTTP/1.1"), Seen("HEAD", "/x")),
    "connect": Vector(line(b"CONNECT a:1 HTTP/1.1", b"Host: a:1\r\n"), (), [501], False),
    "trace": good(line(b"TRACE /x HTTP/1.1"), Seen("TRACE", "/x")),
    "http/1.0": good(line(b"GET /x HTTP/1.0"), GET, closes=True),
    "http/1.0, kept": good(line(b"GET /x HTTP/1.0", b"Host: a\r\nConnection: keep-alive\r\n"), GET),
    "close": good(line(b"GET /x HTTP/1.1", b"Host: a\r\nConnection: close\r\n") + SMUGGLED, GET,
                  closes=True),
}

EXPECTATIONS: Dict[str, Vector] = {
    **{repr(value): bad(with_fields(b"Expect: " + value + b"\r\nContent-Length: 5", b"hello"), 417)
       for value in (b"100-continu", b"100-continue, x", b"x", b"100-continue;a=b", b"100 continue",
                     b"100-continue\r\nExpect: 100-continue")},
    "empty": bad(with_fields(b"Expect:\r\nContent-Length: 5", b"hello"), 417),
    "with vertical tab": bad(with_fields(b"Expect: 100-continue\x0b\r\nContent-Length: 5",
                                         b"hello")),
    "usual": good(with_fields(b"Expect: 100-continue\r\nContent-Length: 5", b"hello"), X),
    "upper case": good(with_fields(b"Expect: 100-CONTINUE\r\nContent-Length: 5", b"hello"), X),
    "of a get": good(with_fields(b"Expect: 100-continue", b"", b"GET"), GET),
    "of http/1.0": good(b"POST /x HTTP/1.0\r\nHost: a\r\nExpect: x\r\nContent-Length: 5\r\n\r\n"
                        b"hello", X, closes=True),
}

PIPELINES: Dict[str, Vector] = {
    "three": good(with_fields(b"A: b", b"", b"GET") + sized(b" 5")
                  + chunks(b"5\r\nhello\r\n0\r\n\r\n"), GET, X, X),
    "sixty": good(with_fields(b"A: b", b"", b"GET") * 60, *[GET] * 60),
    "bad behind good": Vector(sized(b" 5") + sized(b" 0x5") + SMUGGLED, [X], [200, 400], True),
    "a byte behind the last chunk": Vector(
        chunks(b"5\r\nhello\r\n0\r\n\r\n") + b"\x00" + SMUGGLED, [X], [200, 400], True),
    "an empty line too many behind it": Vector(
        chunks(b"5\r\nhello\r\n0\r\n\r\n") + b"\r\n\r\n" + SMUGGLED, [X], [200, 400], True),
    "a chunk behind the last": Vector(
        chunks(b"5\r\nhello\r\n0\r\n\r\n") + b"5\r\nhello\r\n0\r\n\r\n" + SMUGGLED, [X],
        [200, 400], True),
    "bad in the body of the second": Vector(
        sized(b" 5") + chunks(b"5\r\nhello\r\nx\r\n") + SMUGGLED, [X], [200, 400], True),
    "head, then get": good(with_fields(b"A: b", b"", b"HEAD") + with_fields(b"A: b", b"", b"GET"),
                           Seen("HEAD", "/x"), GET),
    "empty line between": good(sized(b" 5") + b"\r\n" + sized(b" 5"), X, X),
    "connect, then get": Vector(line(b"CONNECT a:1 HTTP/1.1", b"Host: a:1\r\n")
                                + with_fields(b"A: b", b"", b"GET"), [GET], [501, 200], False),
    # ... so that what follows is no request any more: ET is a method that nobody knows
    "body that is one byte short": good(sized(b" 6") + SMUGGLED, Seen("POST", "/x", b"helloG"),
                                        Seen("ET", "/smuggled")),
}

REQUESTS: Dict[str, Dict[str, Vector]] = {
    "length and coding": LENGTH_AND_CODING, "coding": CODING, "length": LENGTH, "chunks": CHUNKS,
    "fields": FIELDS, "every byte": EVERY_BYTE, "start lines": START_LINES, "expectations": EXPECTATIONS,
    "pipelines": PIPELINES,
}


def says(fields: bytes, body: bytes = b"", status: bytes = b"200 OK") -> bytes:
    """A response with these field lines."""
    return b"HTTP/1.1 " + status + b"\r\n" + fields + (b"\r\n" if fields else b"") + b"\r\n" + body


OK = says(b"Content-Length: 2", b"ok")
EVIL = says(b"Content-Length: 4", b"evil")
CHUNKED = b"Transfer-Encoding: chunked"

ANSWERS: Dict[str, Answer] = {
    # good ones, so that what is said of the others means something
    "length": Answer(OK, 200, b"ok", True),
    "chunked": Answer(says(CHUNKED, b"2;a=b\r\nok\r\n0\r\nX-T: v\r\n\r\n"), 200, b"ok", True),
    "head": Answer(says(b"Content-Length: 2"), 200, b"", True, "HEAD"),
    "204": Answer(says(b"", b"", b"204 No Content"), 204, b"", True),
    "304 with a length": Answer(says(b"Content-Length: 9", b"", b"304 No"), 304, b"", True),
    "interim": Answer(says(b"", b"", b"102 Wait") + OK, 200, b"ok", True),
    "until close": Answer(says(b"", b"all of it"), 200, b"all of it", ends=True),
    "until close, said to be kept": Answer(says(b"Connection: keep-alive", b"all of it"), 200,
                                           b"all of it", ends=True),
    "http/1.0": Answer(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "http/1.0, kept": Answer(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2"
                             b"\r\n\r\nok", 200, b"ok", True),
    "head, chunked": Answer(says(CHUNKED), 200, b"", True, "HEAD"),
    "304 chunked": Answer(says(CHUNKED, b"", b"304 No"), 304, b"", True),
    "connection names the length": Answer(
        says(b"Connection: content-length, x\r\nContent-Length: 2\r\nX: y", b"ok"), 200, b"ok", True),
    "close": Answer(says(b"Connection: close\r\nContent-Length: 2", b"ok"), 200, b"ok"),
    # two readings of where it ends
    **{f"502 {fields!r}": Answer(says(fields, b"2\r\nok\r\n0\r\n\r\n"), 502) for fields in (
        b"Content-Length: 2\r\nContent-Length: 2", b"Content-Length: 2\r\nContent-Length: 3",
        b"Content-Length: 2\r\n" + CHUNKED, CHUNKED + b"\r\nContent-Length: 2",
        b"Content-Length: 2, 2", b"Content-Length: +2", b"Content-Length: -1", b"Content-Length:",
        b"Content-Length: 0x2", b"Content-Length: 02", b"Content-Length: 99999999999999999999",
        CHUNKED + b"\r\n" + CHUNKED, CHUNKED + b", chunked", CHUNKED + b", identity",
        b"Transfer-Encoding: identity", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding:",
        b"Transfer-Encoding: x\x0bchunked", b"Content-Length : 2", b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: chunked\x0b", b"Transfer-Encoding: \xa0chunked",
        b"Transfer-Encoding: xchunked", b"Transfer-Encoding: ,chunked",
        b"Content-Length: 2\r\nTransfer-Encoding: identity", b"Content-Length:\r\nContent-Length: 2",
        b"Content-Length: 2 2", b"Content-Length: 2_0", b"Content-Length: 9223372036854775808",
        b"Content-Length: 18446744073709551618", b"Content-Length: 2\x00", b"X\x00: a", b"X\x80: a",
        b" X: a", b"\tX: a\r\nContent-Length: 2", b"X: a\x0bb", b"Content-Length: 2\r\n X: y",
        b"X: a\nContent-Length: 2", b"X: a\rY: b", b"X: a\x00b", b": a", b"X", b"X Y: a",
        b"\r\n".join(b"X-%d: v" % i for i in range(200)), b"X: " + b"v" * 70000)},
    **{f"502 {head[:40]!r}": Answer(head, 502) for head in (
        OK.replace(b"\r\n", b"\n"), b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok\r\n\r\n",
        b"HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 +20 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ICY 200 OK\r\n\r\nok",
        b"\r\n\r\n" + OK,
        b"\x00" + OK, b"ok\r\n\r\n", SMUGGLED,
        says(b"Content-Length: 2", b"ok", b"200 O\x00K"), says(b"", b"", b"100 Go") * 40 + OK,
        says(b"Content-Length: 2", b"ok", b"103 Early") + OK,
        says(CHUNKED, b"0\r\n\r\n", b"100 Continue") + OK,
        says(b"Connection: upgrade\r\nUpgrade: websocket", b"", b"101 Switching"),
        says(b"", b"", b"101 Switching"))},
    # an end that is understood, and something behind it
    "two": Answer(OK + EVIL, 200, b"ok"),
    "garbage behind": Answer(OK + b"\x00", 200, b"ok"),
    "head with a chunked body": Answer(says(CHUNKED, b"2\r\nok\r\n0\r\n\r\n"), 200, b"", False, "HEAD"),
    "304 with a chunked body": Answer(says(CHUNKED, b"2\r\nok\r\n0\r\n\r\n", b"304 No"), 304),
    "behind trailers": Answer(says(CHUNKED, b"2\r\nok\r\n0\r\nX: y\r\n\r\n") + EVIL, 200, b"ok"),
    "empty line behind": Answer(OK + b"\r\n", 200, b"ok"),
    "behind chunks": Answer(says(CHUNKED, b"2\r\nok\r\n0\r\n\r\n") + EVIL, 200, b"ok"),
    "behind a head": Answer(says(b"Content-Length: 4", b"evil"), 200, b"", False, "HEAD"),
    "behind 204": Answer(says(b"", b"", b"204 No") + EVIL, 204),
    "204 with a body": Answer(says(b"Content-Length: 4", b"evil", b"204 No"), 204),
    "204 that only says so": Answer(says(b"Content-Length: 4", b"", b"204 No"), 204),
    "204 chunked": Answer(says(CHUNKED, b"0\r\n\r\n", b"204 No"), 204),
    "304 with a body": Answer(says(b"Content-Length: 4", b"evil", b"304 No"), 304),
    "interim behind": Answer(OK + says(b"", b"", b"100 Continue"), 200, b"ok"),
    # cut, or broken when the head is through
    **{f"cut {body!r}": Answer(says(CHUNKED, b"2\r\nok\r\n" + body), None) for body in (
        b"x\r\n", b"2\r\nokX\r\n", b"-1\r\n", b"0x2\r\nok\r\n0\r\n\r\n", b"2\nok\r\n", b"\r\n",
        b"2;a\nb\r\nok\r\n", b"10000000000000002\r\nok\r\n0\r\n\r\n", b"2_\r\nok\r\n0\r\n\r\n",
        b" 2\r\nok\r\n0\r\n\r\n", b"2\r\nok\n0\r\n\r\n", b"2\r\nok\r\n\r\n0\r\n\r\n", b"0\r\n\n",
        b"0\r\nX: a\nY: b\r\n\r\n", b"0\r\nX: a\rHTTP/1.1 200 OK\r\n\r\n", b"0\r\nX: a\x00\r\n\r\n",
        b"0\r\n: a\r\n\r\n", b"0\r\n X: a\r\n\r\n", b"0\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"0\r\nX\r\n\r\n", b"0\r\nX : y\r\n\r\n", b"0\r\n\rX")},
    "cut length": Answer(says(b"Content-Length: 9", b"ok"), None, ends=True),
    "cut chunk": Answer(says(CHUNKED, b"5\r\nok"), None, ends=True),
    "cut before the last chunk": Answer(says(CHUNKED, b"2\r\nok\r\n"), None, ends=True),
    # not a GET: that would be sent once more
    "nothing": Answer(b"", 502, b"", False, "POST", True),
    "half a head": Answer(b"HTTP/1.1 200 OK\r\nContent-Le", 502, b"", False, "POST", True),
}
