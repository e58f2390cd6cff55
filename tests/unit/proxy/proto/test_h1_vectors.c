/* SPDX-License-Identifier: Apache-2.0 */
/* Request heads of the kinds that servers were smuggled past with, each with its verdict. */
#include <sluiced/err.h>

#include "h1_describe.h"

#include "proxy/proto/h1.h"
#include "tests/unit/check.h"

#define HOST "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n" HOST
#define POST "POST / HTTP/1.1\r\n" HOST
#define BYTES(literal) (literal), sizeof(literal) - 1

/* A head, and the fault it has; NONE: it is accepted, and ends where the text does. */
struct vector {
    const char *bytes;
    size_t len;
    enum sl_h1_fault fault;
};

/* The numbers are those of the groups of request-smuggling techniques that servers fell for. */
static const struct vector vectors[] = {
    /* 1: Content-Length and Transfer-Encoding */
    {BYTES(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
     SL_H1_FAULT_LENGTH_AND_CODING},
    {BYTES(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
     SL_H1_FAULT_LENGTH_AND_CODING},
    {BYTES(POST "Transfer-Encoding: foo\r\nContent-Length: 5\r\n\r\n"),
     SL_H1_FAULT_LENGTH_AND_CODING},
    {BYTES(POST "Transfer-Encoding:\r\nContent-Length: 5\r\n\r\n"), SL_H1_FAULT_LENGTH_AND_CODING},
    {BYTES(POST "content-length: 0\r\nTRANSFER-ENCODING: chunked\r\n\r\n"),
     SL_H1_FAULT_LENGTH_AND_CODING},
    /* 2: Transfer-Encoding that is not one "chunked" */
    {BYTES(POST "Transfer-Encoding: chunked\r\n\r\n"), SL_H1_FAULT_NONE},
    {BYTES(POST "Transfer-Encoding: ChunKed\r\n\r\n"), SL_H1_FAULT_NONE},
    {BYTES(POST "Transfer-Encoding: chunked\t\r\n\r\n"), SL_H1_FAULT_NONE},
    {BYTES(POST "Transfer-Encoding: ,chunked\r\n\r\n"), SL_H1_FAULT_CODING},
    {BYTES(POST "Transfer-Encoding: chunked,\r\n\r\n"), SL_H1_FAULT_CODING},
    {BYTES(POST "Transfer-Encoding: chunked,chunked\r\n\r\n"), SL_H1_FAULT_CODING},
    {BYTES(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
     SL_H1_FAULT_CODING},
    {BYTES(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"),
     SL_H1_FAULT_CODING},
    {BYTES(POST "Transfer-Encoding: chunked, identity\r\n\r\n"), SL_H1_FAULT_CODING},
    {BYTES(POST "Transfer-Encoding: identity\r\n\r\n"), SL_H1_FAULT_CODING_UNKNOWN},
    {BYTES(POST "Transfer-Encoding: gzip, chunked\r\n\r\n"), SL_H1_FAULT_CODING_UNKNOWN},
    {BYTES(POST "Transfer-Encoding: gzip;q=1\r\n\r\n"), SL_H1_FAULT_CODING_UNKNOWN},
    {BYTES(POST "Transfer-Encoding: xchunked\r\n\r\n"), SL_H1_FAULT_CODING_UNKNOWN},
    {BYTES(POST "Transfer-Encoding: chunked;a=b\r\n\r\n"), SL_H1_FAULT_CODING},
    {BYTES(POST "Transfer-Encoding: \"chunked\"\r\n\r\n"), SL_H1_FAULT_CODING},
    {BYTES(POST "Transfer-Encoding: chunked foo\r\n\r\n"), SL_H1_FAULT_CODING},
    {BYTES(POST "Transfer-Encoding: \xa0"
                "chunked\r\n\r\n"),
     SL_H1_FAULT_CODING},
    {BYTES(POST "Transfer-Encoding: chunked\x85\r\n\r\n"), SL_H1_FAULT_CODING},
    {BYTES(POST "Transfer-Encoding: \x0b"
                "chunked\r\n\r\n"),
     SL_H1_FAULT_CONTROL_BYTE},
    {BYTES(POST "Transfer-Encoding:\r\n\r\n"), SL_H1_FAULT_CODING},
    {BYTES("POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"), SL_H1_FAULT_CODING},
    {BYTES(POST "Transfer_Encoding: chunked\r\n\r\n"), SL_H1_FAULT_NONE}, /* dropped, see 9 */
    /* 3: Content-Length */
    {BYTES(POST "Content-Length: 5\r\n\r\n"), SL_H1_FAULT_NONE},
    {BYTES(POST "Content-Length: 5 \r\n\r\n"), SL_H1_FAULT_NONE},
    {BYTES(GET "Content-Length: 5\r\n\r\n"), SL_H1_FAULT_NONE},
    {BYTES(POST "Content-Length: 9223372036854775807\r\n\r\n"), SL_H1_FAULT_NONE},
    {BYTES(POST "Content-Length: 9223372036854775808\r\n\r\n"), SL_H1_FAULT_LENGTH},
    {BYTES(POST "Content-Length: 18446744073709551621\r\n\r\n"), SL_H1_FAULT_LENGTH},
    {BYTES(POST "Content-Length: 99999999999999999999999999\r\n\r\n"), SL_H1_FAULT_LENGTH},
    {BYTES(POST "Content-Length:\r\n\r\n"), SL_H1_FAULT_LENGTH},
    {BYTES(POST "Content-Length: \t \r\n\r\n"), SL_H1_FAULT_LENGTH},
    {BYTES(POST "Content-Length: +1\r\n\r\n"), SL_H1_FAULT_LENGTH},
    {BYTES(POST "Content-Length: -1\r\n\r\n"), SL_H1_FAULT_LENGTH},
    {BYTES(POST "Content-Length: 1_0\r\n\r\n"), SL_H1_FAULT_LENGTH},
    {BYTES(POST "Content-Length: 0x10\r\n\r\n"), SL_H1_FAULT_LENGTH},
    {BYTES(POST "Content-Length: 010\r\n\r\n"), SL_H1_FAULT_LENGTH},
    {BYTES(POST "Content-Length: 1 0\r\n\r\n"), SL_H1_FAULT_LENGTH},
    {BYTES(POST "Content-Length: 5,5\r\n\r\n"), SL_H1_FAULT_LENGTH},
    {BYTES(POST "Content-Length: 5, 6\r\n\r\n"), SL_H1_FAULT_LENGTH},
    {BYTES(POST "Content-Length: 5.0\r\n\r\n"), SL_H1_FAULT_LENGTH},
    {BYTES(POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"), SL_H1_FAULT_LENGTH_REPEATED},
    {BYTES(POST "Content-Length: 5\r\ncontent-length: 6\r\n\r\n"), SL_H1_FAULT_LENGTH_REPEATED},
    {BYTES(POST "Content-Length:\r\nContent-Length: 5\r\n\r\n"), SL_H1_FAULT_LENGTH_REPEATED},
    /* 7: field lines */
    {BYTES("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"), SL_H1_FAULT_BARE_LF},
    {BYTES(GET "X: b\n\r\n"), SL_H1_FAULT_BARE_LF},
    {BYTES(GET "\n"), SL_H1_FAULT_BARE_LF},
    {BYTES(GET "X: b\rY: c\r\n\r\n"), SL_H1_FAULT_BARE_CR},
    {BYTES(GET "X: b\r\r\n\r\n"), SL_H1_FAULT_BARE_CR},
    {BYTES(GET "X: \0b\r\n\r\n"), SL_H1_FAULT_CONTROL_BYTE},
    {BYTES(GET "X\0: b\r\n\r\n"), SL_H1_FAULT_CONTROL_BYTE},
    {BYTES(GET "X: b\x1f\r\n\r\n"), SL_H1_FAULT_CONTROL_BYTE},
    {BYTES(GET "X: b\x7f\r\n\r\n"), SL_H1_FAULT_CONTROL_BYTE},
    {BYTES(GET "X: b\r\n c\r\n\r\n"), SL_H1_FAULT_FOLDED_FIELD},
    {BYTES(GET "X: b\r\n\tc: d\r\n\r\n"), SL_H1_FAULT_FOLDED_FIELD},
    {BYTES("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), SL_H1_FAULT_FOLDED_FIELD},
    {BYTES("GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n"), SL_H1_FAULT_FOLDED_FIELD},
    {BYTES(GET "X : b\r\n\r\n"), SL_H1_FAULT_FIELD_NAME},
    {BYTES(GET "X\t: b\r\n\r\n"), SL_H1_FAULT_FIELD_NAME},
    {BYTES(GET ": b\r\n\r\n"), SL_H1_FAULT_FIELD_NAME},
    {BYTES(GET ":\r\n\r\n"), SL_H1_FAULT_FIELD_NAME},
    {BYTES(GET "X\r\n\r\n"), SL_H1_FAULT_FIELD_NAME},
    {BYTES(GET "X b\r\n\r\n"), SL_H1_FAULT_FIELD_NAME},
    {BYTES(GET "X\xe9: b\r\n\r\n"), SL_H1_FAULT_FIELD_NAME},
    {BYTES(GET "\xff: b\r\n\r\n"), SL_H1_FAULT_FIELD_NAME},
    {BYTES(GET "X(a): b\r\n\r\n"), SL_H1_FAULT_FIELD_NAME},
    {BYTES(GET "X/Y: b\r\n\r\n"), SL_H1_FAULT_FIELD_NAME},
    {BYTES(GET "X\"Y\": b\r\n\r\n"), SL_H1_FAULT_FIELD_NAME},
    {BYTES(GET "A-name-of-more-than-sixteen-bytes\xff: b\r\n\r\n"), SL_H1_FAULT_FIELD_NAME},
    {BYTES(GET "A-name-of-more-than-sixteen-bytes : b\r\n\r\n"), SL_H1_FAULT_FIELD_NAME},
    {BYTES(GET "X: \xe9\x80\xff\tb\r\n\r\n"), SL_H1_FAULT_NONE},
    {BYTES(GET "X:\r\n\r\n"), SL_H1_FAULT_NONE},
    {BYTES(GET "X!#$%&'*+-.^`|~9: b\r\n\r\n"), SL_H1_FAULT_NONE},
    /* 8: request line and Host */
    {BYTES("GET / HTTP/1.1\nHost: a\r\n\r\n"), SL_H1_FAULT_BARE_LF},
    {BYTES("\n" GET "\r\n"), SL_H1_FAULT_BARE_LF},
    {BYTES("\r\n" GET "\r\n"), SL_H1_FAULT_NONE},
    {BYTES("\r\n\r\n" GET "\r\n"), SL_H1_FAULT_START_LINE},
    {BYTES("\r" GET "\r\n"), SL_H1_FAULT_BARE_CR},
    {BYTES(" GET / HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_METHOD},
    {BYTES("GET  / HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_START_LINE},
    {BYTES("GET /  HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_START_LINE},
    {BYTES("GET / HTTP/1.1 \r\n" HOST "\r\n"), SL_H1_FAULT_START_LINE},
    {BYTES("GET /a b HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_START_LINE},
    {BYTES("GET\t/ HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_METHOD},
    {BYTES("GET /\tHTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_VERSION},
    {BYTES("GET /\t HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_PATH},
    {BYTES("GET\r\n\r\n"), SL_H1_FAULT_START_LINE},
    {BYTES("GET /\r\n"), SL_H1_FAULT_VERSION},
    {BYTES("GET / HTTP/0.9\r\n" HOST "\r\n"), SL_H1_FAULT_VERSION},
    {BYTES("GET / HTTP/2.0\r\n" HOST "\r\n"), SL_H1_FAULT_VERSION},
    {BYTES("PRI * HTTP/2.0\r\n\r\n"), SL_H1_FAULT_VERSION},
    {BYTES("GET / HTTP/1.2\r\n" HOST "\r\n"), SL_H1_FAULT_VERSION},
    {BYTES("GET / HTTP/1.10\r\n" HOST "\r\n"), SL_H1_FAULT_START_LINE},
    {BYTES("GET / HTTP/1.257\r\n" HOST "\r\n"), SL_H1_FAULT_START_LINE},
    {BYTES("GET / HTTP/257.1\r\n" HOST "\r\n"), SL_H1_FAULT_START_LINE},
    {BYTES("GET / HTTP/1\r\n" HOST "\r\n"), SL_H1_FAULT_START_LINE},
    {BYTES("GET / HTTP/1.\r\n" HOST "\r\n"), SL_H1_FAULT_START_LINE},
    {BYTES("GET / HTTP/1,1\r\n" HOST "\r\n"), SL_H1_FAULT_START_LINE},
    {BYTES("GET / http/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_START_LINE},
    {BYTES("GET / XTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_START_LINE},
    {BYTES("GET / HTTP/\r\r1.1\r\n" HOST "\r\n"), SL_H1_FAULT_BARE_CR},
    {BYTES("GET / HTTP/1.1\r\r\n" HOST "\r\n"), SL_H1_FAULT_BARE_CR},
    {BYTES("G(T / HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_METHOD},
    {BYTES("GE:T / HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_METHOD},
    {BYTES("G\xc9T / HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_METHOD},
    {BYTES("\x16\x03\x01\x02"), SL_H1_FAULT_CONTROL_BYTE}, /* TLS on a plain port */
    {BYTES("PURGE / HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_NONE},
    {BYTES("GET /a#b HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_PATH},
    {BYTES("GET /?a#b HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_TARGET},
    {BYTES("GET http://a/#b HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_PATH},
    {BYTES("GET http://a#b HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_TARGET},
    {BYTES("GET a HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_TARGET},
    {BYTES("GET * HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_TARGET},
    {BYTES("GET ? HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_TARGET},
    {BYTES("GET a:80 HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_TARGET},
    {BYTES("GET ftp://a/ HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_TARGET},
    {BYTES("GET http:/a HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_TARGET},
    {BYTES("GET http:/// HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_TARGET},
    {BYTES("GET http://u@a/ HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_TARGET},
    {BYTES("GET /%2e%2e/a HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_PATH},
    {BYTES("GET http://b/ HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_HOST_MISMATCH},
    {BYTES("GET http://a:81/ HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_HOST_MISMATCH},
    {BYTES("GET https://a:80/ HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_HOST_MISMATCH},
    {BYTES("GET http://A:80/ HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_NONE},
    {BYTES("GET http://a/ HTTP/1.1\r\n\r\n"), SL_H1_FAULT_HOST_MISSING},
    {BYTES("GET / HTTP/1.1\r\n\r\n"), SL_H1_FAULT_HOST_MISSING},
    {BYTES("GET / HTTP/1.0\r\n\r\n"), SL_H1_FAULT_NONE},
    {BYTES(GET "Host: a\r\n\r\n"), SL_H1_FAULT_HOST_REPEATED},
    {BYTES(GET "host: b\r\n\r\n"), SL_H1_FAULT_HOST_REPEATED},
    {BYTES("GET / HTTP/1.0\r\n" HOST "Host: b\r\n\r\n"), SL_H1_FAULT_HOST_REPEATED},
    {BYTES("GET / HTTP/1.1\r\nHost:\r\n\r\n"), SL_H1_FAULT_HOST},
    {BYTES("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n"), SL_H1_FAULT_HOST},
    {BYTES("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), SL_H1_FAULT_HOST},
    {BYTES("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), SL_H1_FAULT_HOST},
    {BYTES("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), SL_H1_FAULT_HOST},
    {BYTES("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"), SL_H1_FAULT_HOST},
    {BYTES("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n"), SL_H1_FAULT_CONTROL_BYTE},
    {BYTES("GET http://a,b/ HTTP/1.1\r\nHost: a,b\r\n\r\n"), SL_H1_FAULT_TARGET},
    {BYTES("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"), SL_H1_FAULT_NONE},
    {BYTES("CONNECT a HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_TARGET},
    {BYTES("CONNECT / HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_TARGET},
    {BYTES("CONNECT http://a:443/ HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_TARGET},
    {BYTES("CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n"), SL_H1_FAULT_HOST_MISMATCH},
    {BYTES("OPTIONS * HTTP/1.1\r\n" HOST "\r\n"), SL_H1_FAULT_NONE},
    /* 10: Connection */
    {BYTES(GET "Connection: close, X-Foo\r\n\r\n"), SL_H1_FAULT_NONE},
    {BYTES(GET "Connection: close x\r\n\r\n"), SL_H1_FAULT_CONNECTION},
    {BYTES(GET "Connection: \"close\"\r\n\r\n"), SL_H1_FAULT_CONNECTION},
    {BYTES(GET "Connection: ,, close ,\r\n\r\n"), SL_H1_FAULT_NONE},
    /* 12: Expect */
    {BYTES(POST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n"), SL_H1_FAULT_NONE},
    {BYTES(POST "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n"), SL_H1_FAULT_NONE},
    {BYTES(POST "Expect: 100-continue, x\r\n\r\n"), SL_H1_FAULT_EXPECT},
    {BYTES(POST "Expect: y 100-continue\r\n\r\n"), SL_H1_FAULT_EXPECT},
    {BYTES(POST "Expect:\r\n\r\n"), SL_H1_FAULT_EXPECT},
    {BYTES(POST "Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n"), SL_H1_FAULT_EXPECT},
    {BYTES("POST / HTTP/1.0\r\nExpect: x\r\n\r\n"), SL_H1_FAULT_NONE},
};

static struct described whole;
static struct described pieces;

static const char *fault_code(unsigned f)
{
    return sl_h1_fault_code((enum sl_h1_fault)f);
}

static void each_technique_is_refused_or_understood(void **state)
{
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(vectors); i++) {
        const struct vector *v = &vectors[i];
        ssize_t want = v->fault == SL_H1_FAULT_NONE ? (ssize_t)v->len : SL_EPROTO;

        parse_in_pieces(v->bytes, v->len, NULL, 0, NULL, &whole);
        check(whole.rc == want && whole.fault == (unsigned)v->fault,
              "vector %zu: %zd, %s, expected %zd, %s:\n%s", i, whole.rc, fault_code(whole.fault),
              want, sl_h1_fault_code(v->fault), v->bytes);
    }
}

static void the_answer_does_not_depend_on_how_the_head_was_cut(void **state)
{
    static size_t every[4096];
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(every); i++) {
        every[i] = i;
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(vectors); i++) {
        const struct vector *v = &vectors[i];

        parse_in_pieces(v->bytes, v->len, NULL, 0, NULL, &whole);
        for (size_t cut = 0; cut < v->len; cut++) {
            parse_in_pieces(v->bytes, v->len, &cut, 1, NULL, &pieces);
            check(described_same(&whole, &pieces), "vector %zu cut at %zu: %zd, %s, not %zd, %s", i,
                  cut, pieces.rc, fault_code(pieces.fault), whole.rc, fault_code(whole.fault));
        }
        parse_in_pieces(v->bytes, v->len, every, v->len, NULL, &pieces);
        check(described_same(&whole, &pieces), "vector %zu byte by byte", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_technique_is_refused_or_understood),
        cmocka_unit_test(the_answer_does_not_depend_on_how_the_head_was_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
