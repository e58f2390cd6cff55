/* SPDX-License-Identifier: Apache-2.0 */
#include "request.h"

#include "proxy/base/alloc.h"
#include "proxy/base/text.h"

#include <string.h>

#define URL_MAX_BYTES 65536

/* RFC 3986 section 2.3: all but the unreserved characters, in hexadecimal. */
static void append_escaped(struct sl_text *t, const char *text)
{
    static const char hex[] = "0123456789ABCDEF";

    for (; *text != '\0'; text++) {
        unsigned char ch = (unsigned char)*text;
        bool plain = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
                     (ch >= '0' && ch <= '9') || strchr("-._~", ch) != NULL;
        const char escaped[] = {'%', hex[ch >> 4], hex[ch & 15]};

        sl_text_append(t, plain ? (struct sl_slice){text, 1}
                                : (struct sl_slice){escaped, sizeof(escaped)});
    }
}

static void append_url(struct sl_text *t, const struct sl_kube_request *r)
{
    const char *separator = "?";

    sl_text_append_str(t, r->access->server);
    sl_text_append_str(t, r->path);
    for (size_t i = 0; i < SL_KUBE_PARAMS_MAX_N; i++) {
        if (r->params[i].value != NULL) {
            sl_text_append_str(t, separator);
            sl_text_append_str(t, r->params[i].name);
            sl_text_append_str(t, "=");
            append_escaped(t, r->params[i].value);
            separator = "&";
        }
    }
}

/* headers: room for two. All is borrowed. */
static struct sl_fetch_request fetch_of(const struct sl_kube_request *r, const char *url,
                                        const char *auth, const char **headers)
{
    /* Name and uid of a pod are a hundredth of the whole. */
    static const char *const accepts[2][2] = {
        {"Accept: application/json", "Accept: application/json"},
        {"Accept: application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1, "
         "application/json",
         "Accept: application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json"},
    };
    struct sl_fetch_request fetch = {
        .url = url,
        .headers = headers,
        .headers_n = auth[0] != '\0' ? 2 : 1,
        .accept_gzip = !r->is_watch && !r->access->no_gzip, /* the server never packs a watch */
        .connect_timeout_ms = r->connect_ms,
        .total_timeout_ms = r->total_ms,
        .idle_timeout_ms = r->idle_ms,
    };

    headers[0] = accepts[r->metadata_only][r->is_watch || r->is_object];
    headers[1] = auth;
    sl_kube_access_apply(r->access, &fetch);
    return fetch;
}

int sl_kube_request_start(const struct sl_kube_request *r, struct sl_fetcher *fetcher,
                          const struct sl_fetch_ops *ops, void *arg, struct sl_fetch **out,
                          struct sl_error *err)
{
    char *auth = sl_alloc(SL_KUBE_HEADER_BYTES);
    struct sl_text url;
    int rc = sl_error_set(err, SL_ENOMEM, NULL, "no memory for a request");

    sl_text_init(&url, URL_MAX_BYTES);
    append_url(&url, r);
    if (auth != NULL && !url.failed) {
        rc = sl_kube_access_header(r->access, auth, err);
        if (rc == SL_OK) {
            const char *headers[2];
            const struct sl_fetch_request fetch = fetch_of(r, url.ptr, auth, headers);
            rc = sl_fetch_start(fetcher, &fetch, ops, arg, out);
            if (rc != SL_OK) {
                (void)sl_error_set(err, rc, NULL, "no request could be made: %s", sl_err_name(rc));
            }
        }
        explicit_bzero(auth, SL_KUBE_HEADER_BYTES);
    }
    sl_free(auth);
    sl_text_fini(&url);
    return rc;
}
