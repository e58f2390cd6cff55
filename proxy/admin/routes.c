/* SPDX-License-Identifier: Apache-2.0 */
#include "routes.h"

#include "metrics_text.h"
#include "query.h"
#include "status_json.h"

#include <arpa/inet.h>
#include <string.h>

#define TEXT "text/plain; charset=utf-8"
#define JSON "application/json"

static void get_list(struct sl_control *c, struct sl_slice query, struct sl_admin_reply *reply);

static void get_healthz(struct sl_control *c, struct sl_slice query, struct sl_admin_reply *reply)
{
    (void)c;
    (void)query;
    sl_text_append_str(&reply->body, "ok\n");
}

static void get_readyz(struct sl_control *c, struct sl_slice query, struct sl_admin_reply *reply)
{
    struct sl_process_info info;
    (void)query;

    c->process(c, &info);
    reply->status = info.ready ? 200 : 503;
    sl_text_append_str(&reply->body, info.ready ? "ready" : info.not_ready_because);
    sl_text_append_str(&reply->body, "\n");
}

static void get_metrics(struct sl_control *c, struct sl_slice query, struct sl_admin_reply *reply)
{
    (void)query;
    reply->content_type = SL_METRICS_CONTENT_TYPE;
    sl_metrics_write(c, &reply->body);
}

static void get_status(struct sl_control *c, struct sl_slice query, struct sl_admin_reply *reply)
{
    (void)query;
    reply->content_type = JSON;
    if (sl_status_write(c, &reply->body) != SL_OK) {
        reply->body.failed = true;
    }
}

static void post_reload(struct sl_control *c, struct sl_slice query, struct sl_admin_reply *reply)
{
    struct sl_process_info info;
    int rc = c->reload(c);
    (void)query;

    c->process(c, &info);
    reply->content_type = JSON;
    if (rc == SL_OK) {
        struct sl_reload_info now;

        c->reload_info(c, &now);
        sl_text_printf(&reply->body, "{\"generation\":%llu,\"asked\":%llu}\n",
                       (unsigned long long)info.generation, (unsigned long long)now.asked_n);
        return;
    }
    reply->status = 422;
    sl_text_append_str(&reply->body, "{\"error\":");
    sl_text_append_json(&reply->body, sl_slice_of(info.reload_error));
    sl_text_append_str(&reply->body, "}\n");
}

static void append_member(struct sl_text *out, const char *key, const char *value)
{
    sl_text_printf(out, ",\"%s\":", key);
    sl_text_append_json(out, sl_slice_of(value));
}

static void get_reload(struct sl_control *c, struct sl_slice query, struct sl_admin_reply *reply)
{
    struct sl_process_info info;
    struct sl_reload_info now;
    (void)query;

    c->process(c, &info);
    c->reload_info(c, &now);
    reply->content_type = JSON;
    sl_text_printf(&reply->body,
                   "{\"asked\":%llu,\"answered\":%llu,\"ok\":%s,\"generation\":%llu,"
                   "\"config_hash\":\"%016llx\"",
                   (unsigned long long)now.asked_n, (unsigned long long)now.answered_n,
                   now.error[0] == '\0' ? "true" : "false", (unsigned long long)info.generation,
                   (unsigned long long)info.content_hash);
    append_member(&reply->body, "config_file", info.config_file);
    append_member(&reply->body, "changes", now.changes);
    append_member(&reply->body, "not_synced", now.not_synced);
    append_member(&reply->body, "error", now.error);
    sl_text_append_str(&reply->body, "}\n");
}

static void get_config(struct sl_control *c, struct sl_slice query, struct sl_admin_reply *reply)
{
    (void)query;
    c->config(c, &reply->body);
}

static void post_drain(struct sl_control *c, struct sl_slice query, struct sl_admin_reply *reply)
{
    (void)query;
    c->drain(c);
    reply->content_type = JSON;
    sl_text_append_str(&reply->body, "{\"draining\":true}\n");
}

static void get_drain(struct sl_control *c, struct sl_slice query, struct sl_admin_reply *reply)
{
    struct sl_drain_info info;
    (void)query;

    c->drain_info(c, &info);
    reply->content_type = JSON;
    sl_text_printf(&reply->body,
                   "{\"draining\":%s,\"closing\":%s,\"outbound_served\":%s,"
                   "\"elapsed_ms\":%llu,\"delay_ms\":%llu,\"timeout_ms\":%llu,"
                   "\"inbound\":%llu,\"outbound\":%llu,\"requests\":%llu}\n",
                   info.draining ? "true" : "false", info.closing ? "true" : "false",
                   info.outbound_served ? "true" : "false", (unsigned long long)info.elapsed_ms,
                   (unsigned long long)info.delay_ms, (unsigned long long)info.timeout_ms,
                   (unsigned long long)info.inbound_n, (unsigned long long)info.outbound_n,
                   (unsigned long long)info.requests_n);
}

static void drain_endpoint(struct sl_control *c, struct sl_slice query, enum sl_drain_wish wish,
                           struct sl_admin_reply *reply)
{
    struct sl_endpoint_drain_info info;
    char name[SL_ADMIN_QUERY_BYTES];

    if (!sl_query_get(query, "endpoint", name, sizeof(name))) {
        reply->status = 400;
        sl_text_append_str(&reply->body,
                           "endpoint= is missing: an address, or the name of a pod\n");
        return;
    }
    c->drain_endpoint(c, name, wish, &info);
    if (info.matched_n == 0) {
        reply->status = 404;
        sl_text_append_str(&reply->body, "no pool has an endpoint ");
        sl_text_append_json(&reply->body, sl_slice_of(name));
        sl_text_append_str(&reply->body, "\n");
        return;
    }
    reply->content_type = JSON;
    sl_text_printf(&reply->body, "{\"matched\":%llu,\"drained\":%llu,\"in_flight\":%llu}\n",
                   (unsigned long long)info.matched_n, (unsigned long long)info.drained_n,
                   (unsigned long long)info.in_flight_n);
}

static void get_drain_endpoint(struct sl_control *c, struct sl_slice query,
                               struct sl_admin_reply *reply)
{
    drain_endpoint(c, query, SL_DRAIN_LOOK, reply);
}

static void post_drain_endpoint(struct sl_control *c, struct sl_slice query,
                                struct sl_admin_reply *reply)
{
    char undo[8];
    bool undoes = sl_query_get(query, "undo", undo, sizeof(undo));

    if (undoes && strcmp(undo, "1") != 0) {
        reply->status = 400;
        sl_text_append_str(&reply->body, "undo= takes 1 alone\n");
        return;
    }
    drain_endpoint(c, query, undoes ? SL_DRAIN_UNDO : SL_DRAIN_BEGIN, reply);
}

static const struct route {
    enum sl_method method;
    const char *path;
    bool on_probes;
    sl_admin_handler_fn handler;
    const char *help;
} routes[] = {
    {SL_METHOD_GET, "/", false, get_list, "this list"},
    {SL_METHOD_GET, "/healthz", true, get_healthz, "200 as long as the process runs"},
    {SL_METHOD_GET, "/readyz", true, get_readyz, "200 when ready, else 503 and why"},
    {SL_METHOD_GET, "/metrics", true, get_metrics, "Prometheus text"},
    {SL_METHOD_GET, "/status", false, get_status, "what runs, as JSON"},
    {SL_METHOD_GET, "/config", false, get_config, "the options in force, a line each"},
    {SL_METHOD_GET, "/reload", false, get_reload, "what became of the reloads, as JSON"},
    {SL_METHOD_POST, "/reload", false, post_reload, "read the configuration again"},
    {SL_METHOD_GET, "/drain", false, get_drain, "how far the drain is, as JSON"},
    {SL_METHOD_POST, "/drain", false, post_drain, "finish what runs, then exit"},
    {SL_METHOD_GET, "/drain/endpoint", false, get_drain_endpoint,
     "?endpoint=ADDRESS or POD: whether it drains by hand, and what runs there"},
    {SL_METHOD_POST, "/drain/endpoint", false, post_drain_endpoint,
     "?endpoint=ADDRESS or POD: no new requests there; undo=1 ends it"},
};

static void get_list(struct sl_control *c, struct sl_slice query, struct sl_admin_reply *reply)
{
    (void)c;
    (void)query;
    for (size_t i = 0; i < SL_ARRAY_LEN(routes); i++) {
        struct sl_slice method = sl_method_name(routes[i].method);
        sl_text_printf(&reply->body, "%-4.*s %-15s  %s\n", SL_SLICE_ARG(method), routes[i].path,
                       routes[i].help);
    }
}

/* A name would be trusted to mean this machine, and whoever owns the name decides that. */
static bool host_is_trusted(const struct sl_request_head *r)
{
    struct sl_slice host = r->host.host;
    struct in_addr ignored;
    char text[INET_ADDRSTRLEN];

    if (host.len == 0 || r->host.is_ipv6 || sl_slice_ieq(host, SL_SLICE("localhost"))) {
        return true;
    }
    if (host.len >= sizeof(text)) {
        return false;
    }
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    return inet_pton(AF_INET, text, &ignored) == 1;
}

static struct sl_admin_decision refuse(uint16_t status, const char *text, const char *allow)
{
    return (struct sl_admin_decision){.status = status, .text = text, .allow = allow};
}

static bool method_matches(enum sl_method asked, enum sl_method has)
{
    return asked == has || (asked == SL_METHOD_HEAD && has == SL_METHOD_GET);
}

/* Kept until the body was read. */
static struct sl_admin_decision accept_query(const struct route *route, struct sl_slice query)
{
    struct sl_admin_decision d = {.handler = route->handler};

    if (query.len > sizeof(d.query)) {
        return refuse(414, "the query is too long", NULL);
    }
    if (query.len > 0) {
        memcpy(d.query, query.ptr, query.len);
    }
    d.query_len = query.len;
    return d;
}

enum {
    HAS_GET = 1,
    HAS_POST = 2,
};

static const char *const allowed[] = {
    [HAS_GET] = "GET, HEAD",
    [HAS_POST] = "POST",
    [HAS_GET | HAS_POST] = "GET, HEAD, POST",
};

struct sl_admin_decision sl_admin_decide(const struct sl_request_head *r, bool probes_only)
{
    if (!probes_only && !host_is_trusted(r)) {
        return refuse(403, "the Host must be an IP address or localhost", NULL);
    }
    unsigned methods = 0; /* that the path has */

    for (size_t i = 0; i < SL_ARRAY_LEN(routes); i++) {
        const struct route *route = &routes[i];

        if ((probes_only && !route->on_probes) || !sl_slice_eq(r->path, sl_slice_of(route->path))) {
            continue;
        }
        if (!method_matches(r->method, route->method)) {
            methods |= route->method == SL_METHOD_POST ? HAS_POST : HAS_GET;
            continue;
        }
        if (route->method == SL_METHOD_POST &&
            sl_headers_find_name(&r->headers, SL_SLICE("origin")) != NULL)
        {
            return refuse(403, "a browser may not do this: the request has an Origin", NULL);
        }
        return accept_query(route, r->query);
    }
    if (methods != 0) {
        return refuse(405, "method not allowed", allowed[methods]);
    }
    return refuse(404, probes_only ? "not found" : "not found; GET / lists what there is", NULL);
}

void sl_admin_reply_fill(const struct sl_admin_decision *d, struct sl_control *c,
                         struct sl_admin_reply *reply)
{
    reply->content_type = TEXT;
    reply->allow = d->allow;
    if (d->handler != NULL) {
        reply->status = 200;
        d->handler(c, (struct sl_slice){d->query, d->query_len}, reply);
    } else {
        reply->status = d->status;
        sl_text_append_str(&reply->body, d->text);
        sl_text_append_str(&reply->body, "\n");
    }
    if (reply->body.failed) {
        sl_text_fini(&reply->body);
        reply->status = 500;
        reply->content_type = TEXT;
    }
}
