/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include "proxy/io/fetch.h"
#include "proxy/io/loop.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 2000
#define TOTAL_TIMEOUT_MS 30000
#define URL_BYTES 512

struct question {
    struct sl_loop *loop;
    struct sl_text *body;
    struct sl_fetch_result result;
    bool done;
};

static void on_data(void *arg, uint16_t status, struct sl_slice data)
{
    struct question *q = arg;
    (void)status;

    sl_text_append(q->body, data);
}

static void on_done(void *arg, const struct sl_fetch_result *result)
{
    struct question *q = arg;

    q->result = *result;
    q->done = true;
    sl_loop_stop(q->loop);
}

/* Whoever listens everywhere also listens here. */
static struct sl_address reachable(const struct sl_address *admin)
{
    struct sl_address a = *admin;
    struct in6_addr in6;
    struct in_addr in;

    if (inet_pton(AF_INET, a.host, &in) == 1 && in.s_addr == htonl(INADDR_ANY)) {
        (void)snprintf(a.host, sizeof(a.host), "127.0.0.1");
    } else if (inet_pton(AF_INET6, a.host, &in6) == 1 && IN6_IS_ADDR_UNSPECIFIED(&in6)) {
        (void)snprintf(a.host, sizeof(a.host), "::1");
    }
    return a;
}

static int make_url(const struct sl_address *admin, const char *path, char *url,
                    struct sl_error *err)
{
    char text[URL_BYTES / 2];
    struct sl_address a = reachable(admin);

    sl_address_format(&a, text, sizeof(text));
    if (a.is_unix) {
        return sl_error_set(err, SL_ECONFIG, NULL,
                            "the admin listener is %s: ask it with curl --unix-socket %s "
                            "http://localhost%s",
                            text, a.host, path);
    }
    if (a.port == 0) {
        return sl_error_set(err, SL_ECONFIG, NULL,
                            "the kernel chose the port of the admin listener, and its log says "
                            "which: ask it with --admin ADDRESS:PORT, or set a port other than 0 "
                            "in admin.listen");
    }
    (void)snprintf(url, URL_BYTES, "http://%s%s", text, path);
    return SL_OK;
}

static int ask(struct question *q, const char *method, const char *url, struct sl_error *err)
{
    static const struct sl_fetch_ops ops = {.on_data = on_data, .on_done = on_done};
    const struct sl_fetch_request request = {
        .method = method,
        .url = url,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .total_timeout_ms = TOTAL_TIMEOUT_MS,
    };
    struct sl_fetcher *fetcher = NULL;
    struct sl_fetch *fetch = NULL;
    int rc = sl_fetcher_new(q->loop, &fetcher);

    if (rc != SL_OK) {
        return sl_error_set(err, (enum sl_err)rc, NULL, "cannot set up HTTP: %s", sl_err_name(rc));
    }
    rc = sl_fetch_start(fetcher, &request, &ops, q, &fetch);
    if (rc == SL_OK && !q->done) {
        sl_loop_run(q->loop);
    }
    if (rc == SL_OK) {
        rc = q->result.code;
        rc = rc == SL_EREFUSED && !q->result.nobody_listens ? SL_EIO : rc;
    }
    if (rc != SL_OK) {
        (void)sl_error_set(err, (enum sl_err)rc, NULL, "%s %s: %s", method, url,
                           q->result.error[0] != '\0' ? q->result.error : sl_err_name(rc));
    }
    sl_fetcher_free(fetcher);
    return rc;
}

int sl_admin_ask(const struct sl_address *admin, const char *method, const char *path,
                 uint16_t *status, struct sl_text *body, struct sl_error *err)
{
    struct question q = {.body = body};
    char url[URL_BYTES];
    int rc = make_url(admin, path, url, err);

    if (rc != SL_OK) {
        return rc;
    }
    rc = sl_loop_new(&q.loop);
    if (rc != SL_OK) {
        return sl_error_set(err, (enum sl_err)rc, NULL, "cannot make a loop: %s", sl_err_name(rc));
    }
    rc = ask(&q, method, url, err);
    sl_loop_free(q.loop);
    if (rc == SL_OK && body->failed) {
        rc = sl_error_set(err, SL_ELIMIT, NULL, "%s %s: the answer is too large", method, url);
    }
    if (rc == SL_OK) {
        *status = q.result.status;
    }
    return rc;
}
