/* SPDX-License-Identifier: Apache-2.0 */
#include "route.h"

static bool host_matches(const char *pattern, struct sl_slice host)
{
    if (pattern == NULL) {
        return true;
    }
    struct sl_slice want = sl_slice_of(pattern);
    if (want.len < 2 || want.ptr[0] != '*') {
        return sl_slice_ieq(want, host);
    }
    /* "*.example.com": any name below it, and not example.com itself. */
    struct sl_slice suffix = {want.ptr + 1, want.len - 1};
    return host.len > suffix.len &&
           sl_slice_ieq(suffix, (struct sl_slice){host.ptr + host.len - suffix.len, suffix.len});
}

static bool path_matches(const char *pattern, struct sl_slice path)
{
    struct sl_slice want = sl_slice_of(pattern);

    if (want.ptr[want.len - 1] == '/') {
        /* "/" is for all there is, "OPTIONS *" included. */
        return want.len == 1 || sl_slice_starts(path, want);
    }
    return sl_slice_eq(want, path);
}

const struct sl_view_route *sl_route_match(const struct sl_view_listener *listener,
                                           struct sl_slice host, struct sl_slice path)
{
    for (size_t i = 0; i < listener->routes_n; i++) {
        const struct sl_route_config *conf = listener->routes[i].conf;
        if (host_matches(conf->host, host) && path_matches(conf->path, path)) {
            return &listener->routes[i];
        }
    }
    return NULL;
}
