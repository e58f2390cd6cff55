/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths and authorities: a normal form is its own normal form and has no dot segment, whatever the
 * policy; an authority that is accepted is accepted again from its parts. The first byte is the
 * policy.
 */
#include <sluiced/err.h>

#include "proxy/proto/uri.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void check_segments(struct sl_slice path, const struct sl_uri_policy *policy)
{
    check(path.len > 0 && path.ptr[0] == '/');
    for (size_t start = 1; start <= path.len;) {
        size_t end = start;
        while (end < path.len && path.ptr[end] != '/') {
            end++;
        }
        struct sl_slice segment = {path.ptr + start, end - start};
        check(!sl_slice_eq(segment, SL_SLICE(".")) && !sl_slice_eq(segment, SL_SLICE("..")));
        check(policy->keep_slashes || segment.len > 0 || end == path.len);
        start = end + 1;
    }
}

static void try_path(struct sl_slice in, const struct sl_uri_policy *policy)
{
    char *buf = malloc(in.len + 1);
    char *buf_again = malloc(in.len + 1);
    struct sl_slice out;
    struct sl_slice again;

    check(buf != NULL && buf_again != NULL);
    int rc = sl_uri_normalise_path(in, policy, buf, in.len, &out);
    check(rc == SL_OK || rc == SL_EPROTO);
    if (rc == SL_OK) {
        check(out.len <= in.len);
        check_segments(out, policy);
        check(sl_uri_normalise_path(out, policy, buf_again, out.len, &again) == SL_OK);
        check(again.ptr == out.ptr && again.len == out.len);
    }
    free(buf);
    free(buf_again);
}

static void try_authority(struct sl_slice in)
{
    struct sl_authority a;
    struct sl_authority b;

    if (in.len > 4096 || sl_authority_parse(in, &a) != SL_OK) {
        return;
    }
    char text[4096 + 32];
    int n = snprintf(text, sizeof(text), "%s%.*s%s", a.is_ipv6 ? "[" : "", SL_SLICE_ARG(a.host),
                     a.is_ipv6 ? "]" : "");
    check(n > 0 && (size_t)n < sizeof(text) - 8);
    if (a.port != 0) {
        n += snprintf(text + n, sizeof(text) - (size_t)n, ":%u", a.port);
    }
    check(sl_authority_parse((struct sl_slice){text, (size_t)n}, &b) == SL_OK);
    check(sl_authority_same(&a, &b, 80) && a.port == b.port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct sl_uri_policy policy = {
        .keep_slashes = (data[0] & 1) != 0,
        .refuse_escaped_slash = (data[0] & 2) != 0,
        .allow_escaped_backslash = (data[0] & 4) != 0,
        .allow_escaped_nul = (data[0] & 8) != 0,
        .allow_escaped_dots = (data[0] & 16) != 0,
        .allow_dot_params = (data[0] & 32) != 0,
        .allow_backslash = (data[0] & 64) != 0,
        .allow_8bit = (data[0] & 128) != 0,
    };
    struct sl_slice text = {(const char *)data + 1, size - 1};

    try_path(text, &policy);
    try_authority(text);
    return 0;
}
