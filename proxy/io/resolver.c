/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resolver: c-ares channels on sl_io and sl_timer, one for each list of servers.
 *
 * c-ares may answer from inside ares_query, and a channel may not be destroyed from inside an
 * answer. So both wait for the end of the turn: an answer is copied and linked into done, and one
 * task delivers, and destroys the channels that have nothing left to do.
 */
#include "resolver.h"

#include "loop.h"

#include "proxy/base/alloc.h"
#include "proxy/base/list.h"

/* From 1.28 on the calls with whole messages are marked as old; the ones that replace them are not
 * in 1.18, and parse what glibc parses for us. */
#define CARES_NO_DEPRECATED
#include <ares.h>
#include <arpa/nameser.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>

enum {
    EDNS_BYTES = 1232,       /* what is never fragmented, by the agreement of DNS Flag Day 2020 */
    FAILURES_MAX_N = 4,      /* in a row, and the channel is made anew */
    UNUSED_MAX_MS = 600000,  /* a channel of servers that nobody asks any more */
    SEARCH_DOMAINS_MAX_N = 8 /* resolv.conf(5) had 6 for long */
};

const struct sl_resolver_conf sl_resolver_conf_default = {
    .timeout_ms = 1000,
    .tries_n = 3,
    .resolv_conf = "/etc/resolv.conf",
};

struct sl_resolver {
    struct sl_loop *loop;
    struct sl_resolver_conf conf;
    struct sl_list channels;
    struct sl_list done; /* queries that ended, in order */
    struct sl_task task;
    bool is_ending;
};

struct channel {
    struct sl_list link;
    struct sl_resolver *resolver;
    ares_channel ares;
    char *servers; /* NULL: the system's */
    bool frank;    /* hands on what the first server says, even if it is SERVFAIL */
    struct sl_timer timer;
    struct sl_list socks;
    size_t queries_n;
    uint32_t failures_n; /* in a row */
    bool retired;        /* another took its place */
    uint64_t used_at_ms;
    struct timespec changed_at; /* resolv.conf, when the channel was made */
    ino_t inode;
    size_t ndots;
    size_t domains_n;
    char domains[SEARCH_DOMAINS_MAX_N][SL_RESOLVER_NAME_BYTES];
};

/* What c-ares asked us to watch. */
struct sock {
    struct sl_list link;
    struct sl_io io;
    struct channel *channel;
    ares_socket_t fd;
};

struct sl_resolver_query {
    struct sl_list link; /* in done, once it ended */
    struct channel *channel;
    sl_resolver_fn fn; /* NULL: cancelled */
    void *arg;
    int status; /* of c-ares */
    char *message;
    size_t message_len;
    uint16_t type;
    char name[SL_RESOLVER_NAME_BYTES];
};

static struct channel *channel_of(struct sl_list *link)
{
    return sl_container_of(link, struct channel, link);
}

/* ---- What c-ares wants of the loop */

static void arm(struct channel *c)
{
    struct timeval tv;

    if (ares_timeout(c->ares, NULL, &tv) == NULL) {
        sl_timer_stop(&c->timer);
        return;
    }
    /* Rounded up: a timer that fires early would fire again at once. */
    sl_timer_start(&c->timer, (uint64_t)tv.tv_sec * 1000 + (uint64_t)tv.tv_usec / 1000 + 1, 0);
}

static void on_timer(struct sl_timer *t)
{
    struct channel *c = sl_container_of(t, struct channel, timer);

    ares_process_fd(c->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm(c);
}

static void on_ready(struct sl_io *io, int events)
{
    const struct sock *s = sl_container_of(io, struct sock, io);
    struct channel *c = s->channel;

    ares_process_fd(c->ares, (events & SL_READABLE) != 0 ? s->fd : ARES_SOCKET_BAD,
                    (events & SL_WRITABLE) != 0 ? s->fd : ARES_SOCKET_BAD);
    arm(c); /* s may be on its way out */
}

static struct sock *find_sock(struct channel *c, ares_socket_t fd)
{
    for (struct sl_list *i = c->socks.next; i != &c->socks; i = i->next) {
        struct sock *s = sl_container_of(i, struct sock, link);

        if (s->fd == fd) {
            return s;
        }
    }
    return NULL;
}

static void watch_socket(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct channel *c = arg;
    struct sock *s = find_sock(c, fd);

    if (readable == 0 && writable == 0) {
        if (s != NULL) {
            sl_io_stop(&s->io);
            sl_list_unlink(&s->link);
            sl_loop_defer_free(c->resolver->loop, s); /* maybe inside its own on_ready */
        }
        return;
    }
    if (s == NULL) {
        s = sl_alloc(sizeof(*s));
        if (s == NULL) {
            return; /* the question ends by its time limit */
        }
        s->channel = c;
        s->fd = fd;
        sl_list_push_back(&c->socks, &s->link);
        sl_io_init(&s->io, c->resolver->loop, fd, on_ready);
    }
    sl_io_want_read(&s->io, readable != 0);
    sl_io_want_write(&s->io, writable != 0);
}

/* ---- Channels */

static void look_at_file(const struct sl_resolver *r, struct timespec *changed_at, ino_t *inode)
{
    struct stat st;

    if (stat(r->conf.resolv_conf, &st) != 0) {
        memset(&st, 0, sizeof(st)); /* c-ares then asks 127.0.0.1 */
    }
    *changed_at = st.st_mtim;
    *inode = st.st_ino;
}

/* c-ares read resolv.conf; its search list is applied here and not by ares_search, which does so
 * for each family on its own and so may find them under two names. */
static void keep_search_list(struct channel *c)
{
    struct ares_options o;
    int mask;

    memset(&o, 0, sizeof(o));
    c->ndots = 1;
    if (ares_save_options(c->ares, &o, &mask) == ARES_SUCCESS) {
        c->ndots = o.ndots >= 0 ? (size_t)o.ndots : 1;
        for (int i = 0; i < o.ndomains && c->domains_n < SEARCH_DOMAINS_MAX_N; i++) {
            size_t len = strlen(o.domains[i]);

            if (len > 0 && len < SL_RESOLVER_NAME_BYTES && strcmp(o.domains[i], ".") != 0) {
                memcpy(c->domains[c->domains_n++], o.domains[i], len + 1);
            }
        }
    }
    ares_destroy_options(&o);
}

static int init_ares(struct channel *c)
{
    const struct sl_resolver_conf *conf = &c->resolver->conf;
    char path[512];
    struct ares_options o;
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB |
               ARES_OPT_EDNSPSZ | ARES_OPT_RESOLVCONF;

    memset(&o, 0, sizeof(o));
    (void)snprintf(path, sizeof(path), "%s", conf->resolv_conf); /* a path of ours or a test's */
    o.flags = ARES_FLAG_EDNS | (c->frank ? ARES_FLAG_NOCHECKRESP : 0);
    o.timeout = (int)conf->timeout_ms;
    o.tries = (int)conf->tries_n;
    o.sock_state_cb = watch_socket;
    o.sock_state_cb_data = c;
    o.ednspsz = EDNS_BYTES;
    o.resolvconf_path = path;
#ifdef ARES_OPT_QUERY_CACHE
    mask |= ARES_OPT_QUERY_CACHE; /* 0: whoever asks again wants to know */
#endif
    int rc = ares_init_options(&c->ares, &o, mask);
    if (rc != ARES_SUCCESS) {
        return rc == ARES_ENOMEM ? SL_ENOMEM : SL_EIO;
    }
    if (c->servers != NULL) {
        rc = ares_set_servers_ports_csv(c->ares, c->servers);
        if (rc != ARES_SUCCESS) {
            ares_destroy(c->ares);
            return rc == ARES_ENOMEM ? SL_ENOMEM : SL_EIO;
        }
    }
    return SL_OK;
}

static void free_channel(struct channel *c)
{
    ares_destroy(c->ares); /* ends its queries and closes its sockets */
    sl_timer_stop(&c->timer);
    sl_list_unlink(&c->link);
    sl_free(c->servers);
    sl_loop_defer_free(c->resolver->loop, c);
}

static int new_channel(struct sl_resolver *r, const char *servers, bool frank, struct channel **out)
{
    struct channel *c = sl_alloc(sizeof(*c));
    int rc = SL_ENOMEM;

    if (c == NULL) {
        return SL_ENOMEM;
    }
    c->resolver = r;
    c->frank = frank;
    sl_list_init(&c->socks);
    if (servers != NULL) {
        c->servers = sl_strdup(servers);
        if (c->servers == NULL) {
            goto fail_alloc;
        }
    }
    look_at_file(r, &c->changed_at, &c->inode);
    rc = init_ares(c);
    if (rc != SL_OK) {
        goto fail_servers;
    }
    keep_search_list(c);
    sl_timer_init(&c->timer, r->loop, on_timer);
    sl_list_push_back(&r->channels, &c->link);
    *out = c;
    return SL_OK;
fail_servers:
    sl_free(c->servers);
fail_alloc:
    sl_free(c);
    return rc;
}

static bool is_for(const struct channel *c, const char *servers, bool frank)
{
    if (c->frank != frank) {
        return false;
    }
    return servers == NULL || c->servers == NULL ? servers == c->servers
                                                 : strcmp(c->servers, servers) == 0;
}

static bool is_current(const struct channel *c)
{
    struct timespec changed_at;
    ino_t inode;

    if (c->failures_n >= FAILURES_MAX_N) {
        return false; /* whatever it is that a new one would do better */
    }
    if (c->servers != NULL) {
        return true;
    }
    look_at_file(c->resolver, &changed_at, &inode);
    return changed_at.tv_sec == c->changed_at.tv_sec &&
           changed_at.tv_nsec == c->changed_at.tv_nsec && inode == c->inode;
}

/* The one for servers. An old one that has questions open stays until they end. */
static int get_channel(struct sl_resolver *r, const char *servers, bool frank, struct channel **out)
{
    struct sl_list *next;
    struct channel *found = NULL;
    uint64_t now_ms = sl_loop_now_ms(r->loop);

    for (struct sl_list *i = r->channels.next; i != &r->channels; i = next) {
        struct channel *c = channel_of(i);

        next = i->next;
        if (!c->retired && is_for(c, servers, frank) && is_current(c)) {
            found = c;
            c->used_at_ms = now_ms;
        } else if (is_for(c, servers, frank) || now_ms - c->used_at_ms > UNUSED_MAX_MS) {
            c->retired = true;
            sl_task_post(r->loop, &r->task);
        }
    }
    if (found == NULL) {
        int rc = new_channel(r, servers, frank, &found);

        if (rc != SL_OK) {
            return rc;
        }
        found->used_at_ms = now_ms;
    }
    *out = found;
    return SL_OK;
}

/* ---- Queries */

static void free_query(struct sl_resolver_query *q)
{
    sl_list_unlink(&q->link);
    sl_free(q->message);
    sl_free(q);
}

static struct sl_resolver_result result_of(const struct sl_resolver_query *q)
{
    static const struct {
        int status;
        enum sl_resolver_outcome outcome;
        const char *reason;
    } known[] = {
        {ARES_SUCCESS, SL_RESOLVER_ANSWER, ""},
        {ARES_ENODATA, SL_RESOLVER_NO_DATA, "no such records (NODATA)"},
        {ARES_ENOTFOUND, SL_RESOLVER_NO_NAME, "no such name (NXDOMAIN)"},
        {ARES_ESERVFAIL, SL_RESOLVER_FAILED, "server failure (SERVFAIL)"},
        {ARES_EREFUSED, SL_RESOLVER_FAILED, "query refused (REFUSED)"},
        {ARES_ENOTIMP, SL_RESOLVER_FAILED, "not implemented by the server (NOTIMP)"},
        {ARES_EFORMERR, SL_RESOLVER_FAILED, "the server did not understand (FORMERR)"},
        {ARES_ETIMEOUT, SL_RESOLVER_FAILED, "no answer in time"},
        {ARES_ECONNREFUSED, SL_RESOLVER_FAILED, "no server could be reached"},
        {ARES_EBADRESP, SL_RESOLVER_FAILED, "the answer makes no sense"},
        {ARES_EBADNAME, SL_RESOLVER_FAILED, "the name cannot be asked for"},
        {ARES_ENOMEM, SL_RESOLVER_FAILED, "no memory"},
    };
    struct sl_resolver_result result = {
        .outcome = SL_RESOLVER_FAILED,
        .message = {q->message != NULL ? q->message : "", q->message_len},
    };

    for (size_t i = 0; i < SL_ARRAY_LEN(known); i++) {
        if (known[i].status == q->status) {
            result.outcome = known[i].outcome;
            result.reason = known[i].reason;
            return result;
        }
    }
    result.reason = ares_strerror(q->status);
    return result;
}

static void on_answer(void *arg, int status, int timeouts_n, unsigned char *bytes, int len);

static void send_query(struct sl_resolver_query *q, struct channel *c)
{
    q->channel = c;
    c->queries_n++;
    ares_query(c->ares, q->name, ns_c_in, q->type, on_answer, q);
    arm(c);
}

/* c-ares goes on to the next server when one says SERVFAIL or REFUSED, as it should, and 1.18 says
 * of the last one only that it could not be reached. Ask once more, to know why. True: it is. */
static bool ask_frankly(struct sl_resolver_query *q)
{
    const struct channel *c = q->channel;
    struct channel *frank;

    if (c->frank || q->fn == NULL || c->resolver->is_ending ||
        get_channel(c->resolver, c->servers, true, &frank) != SL_OK)
    {
        return false;
    }
    send_query(q, frank);
    return true;
}

static void on_answer(void *arg, int status, int timeouts_n, unsigned char *bytes, int len)
{
    struct sl_resolver_query *q = arg;
    struct channel *c = q->channel;
    bool failed = status != ARES_SUCCESS && status != ARES_ENODATA && status != ARES_ENOTFOUND;
    (void)timeouts_n;

    c->queries_n--;
    c->failures_n = failed ? c->failures_n + 1 : 0;
    if (status == ARES_ECONNREFUSED && ask_frankly(q)) {
        return;
    }
    q->status = status;
    if (bytes != NULL && len > 0 && q->fn != NULL) {
        q->message = sl_alloc_raw((size_t)len);
        if (q->message != NULL) {
            memcpy(q->message, bytes, (size_t)len);
            q->message_len = (size_t)len;
        } else {
            q->status = ARES_ENOMEM;
        }
    }
    sl_list_push_back(&c->resolver->done, &q->link);
    sl_task_post(c->resolver->loop, &c->resolver->task);
}

static void on_task(struct sl_task *t)
{
    struct sl_resolver *r = sl_container_of(t, struct sl_resolver, task);
    struct sl_list *next;

    while (!sl_list_empty(&r->done)) {
        struct sl_resolver_query *q = sl_container_of(r->done.next, struct sl_resolver_query, link);
        sl_resolver_fn fn = q->fn;

        sl_list_unlink(&q->link);
        if (fn != NULL) {
            const struct sl_resolver_result result = result_of(q);

            q->fn = NULL;
            fn(q->arg, &result);
        }
        free_query(q);
    }
    for (struct sl_list *i = r->channels.next; i != &r->channels; i = next) {
        next = i->next;
        if (channel_of(i)->retired && channel_of(i)->queries_n == 0) {
            free_channel(channel_of(i));
        }
    }
}

int sl_resolver_ask(struct sl_resolver *r, const char *servers, const char *name, uint16_t type,
                    sl_resolver_fn fn, void *arg, struct sl_resolver_query **out)
{
    struct channel *c;
    int rc = get_channel(r, servers, false, &c);

    if (rc != SL_OK) {
        return rc;
    }
    struct sl_resolver_query *q = sl_alloc(sizeof(*q));
    if (q == NULL) {
        return SL_ENOMEM;
    }
    sl_list_init(&q->link);
    q->fn = fn;
    q->arg = arg;
    q->type = type;
    (void)snprintf(q->name, sizeof(q->name), "%s", name); /* longer ones nobody has */
    *out = q;
    send_query(q, c);
    return SL_OK;
}

void sl_resolver_cancel(struct sl_resolver_query *q)
{
    q->fn = NULL; /* c-ares cannot forget one question; its answer finds nobody */
}

bool sl_resolver_candidate(struct sl_resolver *r, const char *name, size_t idx, char *out)
{
    struct channel *c;
    size_t len = strlen(name);
    size_t dots_n = 0;

    if ((len > 0 && name[len - 1] == '.') || get_channel(r, NULL, false, &c) != SL_OK) {
        (void)snprintf(out, SL_RESOLVER_NAME_BYTES, "%s", name); /* checked to fit */
        return idx == 0;
    }
    for (size_t i = 0; i < len; i++) {
        dots_n += name[i] == '.' ? 1 : 0;
    }
    size_t bare_idx = dots_n >= c->ndots ? 0 : c->domains_n;
    if (idx == bare_idx) {
        (void)snprintf(out, SL_RESOLVER_NAME_BYTES, "%s", name); /* the same */
        return true;
    }
    size_t domain_idx = bare_idx == 0 ? idx - 1 : idx;
    if (domain_idx >= c->domains_n || idx > c->domains_n) {
        return false;
    }
    int n = snprintf(out, SL_RESOLVER_NAME_BYTES, "%s.%s", name, c->domains[domain_idx]);
    if (n < 0 || n >= SL_RESOLVER_NAME_BYTES) { /* nobody has a name that long */
        (void)snprintf(out, SL_RESOLVER_NAME_BYTES, "%s", name);
    }
    return true;
}

/* ---- The whole */

int sl_resolver_new(struct sl_loop *loop, const struct sl_resolver_conf *conf,
                    struct sl_resolver **out)
{
    struct sl_resolver *r = sl_alloc(sizeof(*r));

    if (r == NULL) {
        return SL_ENOMEM;
    }
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
        sl_free(r);
        return SL_EIO;
    }
    r->loop = loop;
    r->conf = *conf;
    sl_list_init(&r->channels);
    sl_list_init(&r->done);
    sl_task_init(&r->task, on_task);
    *out = r;
    return SL_OK;
}

void sl_resolver_free(struct sl_resolver *r)
{
    if (r == NULL) {
        return;
    }
    r->is_ending = true;
    while (!sl_list_empty(&r->channels)) {
        free_channel(channel_of(r->channels.next));
    }
    while (!sl_list_empty(&r->done)) {
        free_query(sl_container_of(r->done.next, struct sl_resolver_query, link));
    }
    sl_task_cancel(&r->task);
    ares_library_cleanup();
    sl_free(r);
}
