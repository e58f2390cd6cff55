/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uri: authorities and paths, validated and brought to the one form that is routed and forwarded.
 *
 * Two readers that see two paths in one text are how access rules are bypassed, so what could be
 * read in two ways is either rewritten here, before routing, or refused.
 *
 * Thread:    any (pure)
 * Errors:    SL_EPROTO for what is malformed or refused
 * Limits:    O(length); a rewritten path is never longer than the one that came
 * Source:    RFC 3986 sections 3.2, 5.2.4 and 6.2.2; RFC 9110 section 4.2
 */
#ifndef SL_PROTO_URI_H
#define SL_PROTO_URI_H

#include <sluiced/defs.h>
#include <sluiced/slice.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All false is the default. '#', controls and spaces are refused whatever this says. */
struct sl_uri_policy {
    bool keep_slashes;            /* "//" stays: otherwise it becomes "/" */
    bool refuse_escaped_slash;    /* %2f; otherwise it stays escaped and is no separator */
    bool allow_escaped_backslash; /* %5c */
    bool allow_escaped_nul;       /* %00 */
    bool allow_escaped_dots;      /* %2e%2e as a segment: then it is decoded, and removed as ".." */
    bool allow_dot_params;        /* "/..;x/", which Java servers take for "/../" */
    bool allow_backslash;
    bool allow_8bit; /* bytes above 0x7f, as they are; applies to the query too */
};

/* Brings the absolute path in (it begins with '/', has no query) to normal form: escaped
 * unreserved characters decoded, hexadecimal digits in upper case, dot segments removed.
 * *out is in itself where nothing changed, else in buf; SL_ELIMIT when it needs more than
 * buf_bytes (in.len is always enough). buf may be NULL when buf_bytes is 0. */
int sl_uri_normalise_path(struct sl_slice in, const struct sl_uri_policy *policy, char *buf,
                          size_t buf_bytes, struct sl_slice *out) SL_MUST_CHECK;

/* A query is forwarded as it came; this only says whether its bytes are allowed. */
int sl_uri_check_query(struct sl_slice query, const struct sl_uri_policy *policy) SL_MUST_CHECK;

struct sl_authority {
    struct sl_slice host; /* never empty; an IPv6 address without its brackets */
    uint16_t port;        /* 0: not given */
    bool is_ipv6;
};

/* host [":" port]: a name, an IPv4 address or "[" IPv6 "]". Refused beyond what the grammar
 * refuses: user information, commas (two hosts to a careless reader), percent escapes, zones. */
int sl_authority_parse(struct sl_slice s, struct sl_authority *out) SL_MUST_CHECK;

/* Whether both name one origin: host without case, default_port where a port is missing. */
bool sl_authority_same(const struct sl_authority *a, const struct sl_authority *b,
                       uint16_t default_port);

#endif
