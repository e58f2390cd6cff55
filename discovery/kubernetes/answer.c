/* SPDX-License-Identifier: Apache-2.0 */
#include "answer.h"

#include <jansson.h>

#include <stdio.h>
#include <string.h>

/* What follows prefix in path, up to the next slash. */
static struct sl_slice part_after(const char *path, const char *prefix)
{
    const char *at = strstr(path, prefix);

    if (at == NULL) {
        return (struct sl_slice){"", 0};
    }
    at += strlen(prefix);
    return (struct sl_slice){at, strcspn(at, "/")};
}

/* "allow list and watch on endpointslices.discovery.k8s.io in namespace prod: ": first, for what
 * the server says may be too long for a line. */
static void describe_rule(const char *path, char *buf, size_t size_bytes)
{
    struct sl_slice group = part_after(path, "/apis/");
    struct sl_slice ns = part_after(path, "/namespaces/");
    const char *slash = strrchr(path, '/');

    (void)snprintf(buf, size_bytes,
                   "allow list and watch on %s%s%.*s in %s%.*s: ", slash != NULL ? slash + 1 : path,
                   group.len > 0 ? "." : "", (int)group.len, group.ptr,
                   ns.len > 0 ? "namespace " : "all namespaces", (int)ns.len,
                   ns.ptr); /* cut on purpose */
}

void sl_kube_describe(uint16_t status, struct sl_slice body, const char *path, char *buf,
                      size_t size_bytes)
{
    json_t *json = body.len > 0 ? json_loadb(body.ptr, body.len, JSON_ALLOW_NUL, NULL) : NULL;
    const char *message = json_string_value(json_object_get(json, "message"));
    char rule[256] = "";

    if (message != NULL) {
        body = sl_slice_of(message);
    }
    if (status == 403) {
        describe_rule(path, rule, sizeof(rule));
    }
    int len = body.len < size_bytes ? (int)body.len : (int)size_bytes - 1;
    (void)snprintf(buf, size_bytes, "status %u: %s%.*s", status, rule, len,
                   body.ptr != NULL ? body.ptr : ""); /* cut on purpose */
    for (char *c = buf; *c != '\0'; c++) {
        *c = *c < ' ' ? ' ' : *c; /* a last_error is one line */
    }
    json_decref(json);
}
