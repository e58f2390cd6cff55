/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch: libcurl's multi interface on sl_io and sl_timer.
 *
 * libcurl refuses to add or remove a handle from inside its own callbacks, and a caller of ours
 * does not know whether it is inside one. So both wait for the end of the turn: a start links the
 * fetch into pending, an end into dead, and one task does what they ask.
 */
#include "fetch.h"

#include "fetch_internal.h"
#include "loop.h"

#include "proxy/base/alloc.h"
#include "proxy/base/list.h"

#include <curl/curl.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define FETCHER_MAGIC 0x66636872U
#define HEAD_MAX_BYTES 65536
#define WARNING "warning:"

/* Of all servers together: an API server allows 100 or 250 on a connection and says so; beyond
 * what it says, libcurl opens another connection. */
#define STREAMS_MAX_N 1000

static struct sl_fetch *fetch_of(struct sl_list *link)
{
    return sl_container_of(link, struct sl_fetch, link);
}

/* What fails in a handshake is TLS where the library says so. A balancer without a server behind it
 * takes connections and drops them: that is nobody who answers. */
static int handshake_code(const char *error)
{
    bool is_tls = strstr(error, "SSL routines") != NULL && strstr(error, "unexpected eof") == NULL;

    return is_tls ? SL_ETLS : SL_ERESET;
}

static int code_of(CURLcode rc, const char *error)
{
    switch ((int)rc) {
    case CURLE_OK:
        return SL_OK;
    case CURLE_OUT_OF_MEMORY:
        return SL_ENOMEM;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
        return SL_EREFUSED;
    case CURLE_OPERATION_TIMEDOUT:
        return SL_ETIMEOUT;
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_HTTP2_STREAM:
    case CURLE_HTTP2:
        return SL_ERESET;
    case CURLE_SSL_CONNECT_ERROR:
        return handshake_code(error);
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        return SL_ETLS;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_BAD_CONTENT_ENCODING:
        return SL_EPROTO;
    case CURLE_WRITE_ERROR: /* on_head refused; a cancelled fetch asks nobody */
        return SL_ELIMIT;
    default:
        return SL_EIO;
    }
}

/* From here on nobody hears of it; the task frees it. */
static void bury(struct sl_fetch *f)
{
    f->ended = true;
    sl_timer_stop(&f->timer);
    sl_list_unlink(&f->link);
    sl_list_push_back(&f->fetcher->dead, &f->link);
    sl_task_post(f->fetcher->loop, &f->fetcher->task);
}

static void end(struct sl_fetch *f, int code, const char *error)
{
    struct sl_fetch_result result = {.code = code, .status = f->status};
    curl_off_t retry_after_s = 0;
    long connect_errno = 0;

    if (f->ended) {
        return;
    }
    result.nobody_listens =
        code == SL_EREFUSED &&
        curl_easy_getinfo(f->easy, CURLINFO_OS_ERRNO, &connect_errno) == CURLE_OK &&
        connect_errno == ECONNREFUSED;
    if (curl_easy_getinfo(f->easy, CURLINFO_RETRY_AFTER, &retry_after_s) == CURLE_OK &&
        retry_after_s > 0)
    {
        result.retry_after_s = retry_after_s < UINT32_MAX ? (uint32_t)retry_after_s : UINT32_MAX;
    }
    memcpy(result.warning, f->warning, sizeof(result.warning));
    if (code != SL_OK) {
        (void)snprintf(result.error, sizeof(result.error), "%.*s", (int)sizeof(result.error) - 1,
                       error); /* cut on purpose */
    }
    bury(f);
    f->ops->on_done(f->arg, &result);
}

/* Tells of all transfers that libcurl is done with. */
static void collect(struct sl_fetcher *fr)
{
    const CURLMsg *m;
    int left_n;

    while ((m = curl_multi_info_read(fr->multi, &left_n)) != NULL) {
        struct sl_fetch *f = NULL;

        if (m->msg != CURLMSG_DONE ||
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &f) != CURLE_OK || f == NULL)
        {
            continue;
        }
        SL_ASSERT(f->magic == FETCH_MAGIC, "fetch %p", (void *)f);
        CURLcode rc = m->data.result;
        end(f, code_of(rc, f->error), f->error[0] != '\0' ? f->error : curl_easy_strerror(rc));
    }
}

void sl_fetcher_act(struct sl_fetcher *fr, curl_socket_t fd, int events)
{
    int running_n;

    /* What goes wrong with one transfer comes as its message; no other failure is left here. */
    (void)curl_multi_socket_action(fr->multi, fd, events, &running_n);
    collect(fr);
}

static void on_multi_timer(struct sl_timer *t)
{
    sl_fetcher_act(sl_container_of(t, struct sl_fetcher, timer), CURL_SOCKET_TIMEOUT, 0);
}

static int set_multi_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct sl_fetcher *fr = arg;
    (void)multi;

    if (timeout_ms < 0) {
        sl_timer_stop(&fr->timer);
    } else {
        sl_timer_start(&fr->timer, (uint64_t)timeout_ms, 0);
    }
    return 0;
}

static void touch(struct sl_fetch *f)
{
    f->last_byte_ms = sl_loop_now_ms(f->fetcher->loop);
}

static void learn_status(struct sl_fetch *f)
{
    long status = 0;

    if (f->status == 0 && curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK &&
        status >= 200)
    {
        f->status = (uint16_t)status;
    }
}

/* RFC 9111 section 5.5, as an API server writes it: 299 - "what is deprecated". The first is kept;
 * a control character has no way into a log. */
const char *sl_fetch_warning(const struct sl_fetch *fetch)
{
    return fetch->warning;
}

static void take_warning(struct sl_fetch *f, struct sl_slice line)
{
    const char *text = memchr(line.ptr, '"', line.len);
    const char *line_end = line.ptr + line.len;
    size_t n = 0;

    if (f->warning[0] != '\0' || text == NULL || line.len < sizeof(WARNING) ||
        strncasecmp(line.ptr, WARNING, sizeof(WARNING) - 1) != 0)
    {
        return;
    }
    while (line_end > text && (line_end[-1] == '\r' || line_end[-1] == '\n')) {
        line_end--;
    }
    for (const char *c = text + 1; c < line_end && *c != '"'; c++) {
        c += *c == '\\' && c + 1 < line_end; /* quoted-pair */
        if (n + 1 < sizeof(f->warning)) {
            f->warning[n++] = (char)(*c >= ' ' && *c <= '~' ? *c : ' '); /* cut on purpose */
        }
    }
}

/* One line of the head. libcurl's way to say stop is a count that differs from what was given. */
/* NOLINTNEXTLINE(readability-non-const-parameter): libcurl has the type of it */
static size_t on_head(char *data, size_t item_bytes, size_t n, void *arg)
{
    struct sl_fetch *f = arg;
    size_t len = item_bytes * n;
    bool knew_status = f->status != 0;

    if (f->ended) {
        return 0;
    }
    touch(f);
    f->head_bytes += len;
    if (f->head_bytes > HEAD_MAX_BYTES) {
        return 0;
    }
    if (len > 0 && (data[0] == '\r' || data[0] == '\n')) {
        learn_status(f); /* stays 0 after a 1xx: another head follows */
        if (!knew_status && f->status != 0 && f->ops->on_head != NULL) {
            f->ops->on_head(f->arg, f->status);
        }
    } else if (f->status == 0) {
        take_warning(f, (struct sl_slice){data, len});
    }
    return f->ended ? 0 : len;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): likewise */
static size_t on_body(char *data, size_t item_bytes, size_t n, void *arg)
{
    struct sl_fetch *f = arg;
    size_t len = item_bytes * n;

    if (f->ended) {
        return 0;
    }
    touch(f);
    learn_status(f);
    if (f->ops->on_data != NULL && len > 0) {
        f->ops->on_data(f->arg, f->status, (struct sl_slice){data, len});
    }
    return f->ended ? 0 : len;
}

/* From now until the earlier of both limits; 0: it is past one. */
static uint64_t time_left_ms(const struct sl_fetch *f, uint64_t idle_ms, uint64_t total_ms)
{
    uint64_t idle_left_ms = f->idle_timeout_ms > idle_ms ? f->idle_timeout_ms - idle_ms : 0;
    uint64_t total_left_ms = f->total_timeout_ms > total_ms ? f->total_timeout_ms - total_ms : 0;

    idle_left_ms = f->idle_timeout_ms > 0 ? idle_left_ms : UINT64_MAX;
    total_left_ms = f->total_timeout_ms > 0 ? total_left_ms : UINT64_MAX;
    return idle_left_ms < total_left_ms ? idle_left_ms : total_left_ms;
}

/* Our own and not libcurl's, which would have left the connection before we can look at it. */
static void watch_time(struct sl_fetch *f)
{
    uint64_t now_ms = sl_loop_now_ms(f->fetcher->loop);
    uint64_t idle_ms = now_ms > f->last_byte_ms ? now_ms - f->last_byte_ms : 0;
    uint64_t total_ms = now_ms > f->start_ms ? now_ms - f->start_ms : 0;
    uint64_t left_ms = time_left_ms(f, idle_ms, total_ms);
    bool is_idle = f->idle_timeout_ms > 0 && idle_ms >= f->idle_timeout_ms;
    char error[64];

    if (left_ms == UINT64_MAX) {
        return;
    }
    if (left_ms > 0) {
        sl_timer_start(&f->timer, left_ms, 0);
        return;
    }
    (void)snprintf(error, sizeof(error), is_idle ? "no byte for %ju ms" : "not done after %ju ms",
                   (uintmax_t)(is_idle ? idle_ms : total_ms)); /* fits */
    sl_fetch_cut_silent(f);
    end(f, SL_ETIMEOUT, error);
}

static void on_timer(struct sl_timer *t)
{
    struct sl_fetch *f = sl_container_of(t, struct sl_fetch, timer);
    SL_ASSERT(f->magic == FETCH_MAGIC, "fetch %p", (void *)f);

    watch_time(f);
}

static void fetch_free(struct sl_fetch *f)
{
    if (f->easy != NULL) {
        if (f->added) {
            (void)curl_multi_remove_handle(f->fetcher->multi, f->easy); /* never inside libcurl */
        }
        curl_easy_cleanup(f->easy);
    }
    for (const struct curl_slist *h = f->headers; h != NULL; h = h->next) {
        explicit_bzero(h->data, strlen(h->data)); /* one of them may be a token */
    }
    curl_slist_free_all(f->headers);
    curl_slist_free_all(f->connect_to);
    for (size_t i = 0; i < PEMS_N; i++) {
        if (f->pems[i].ptr != NULL) {
            explicit_bzero(f->pems[i].ptr, f->pems[i].len);
            sl_free(f->pems[i].ptr);
        }
    }
    f->magic = 0;
    sl_free(f);
}

/* End of a turn: what callbacks asked for and libcurl would not have allowed them. */
static void on_task(struct sl_task *t)
{
    struct sl_fetcher *fr = sl_container_of(t, struct sl_fetcher, task);
    SL_ASSERT(fr->magic == FETCHER_MAGIC, "fetcher %p", (void *)fr);

    for (struct sl_list *l = fr->active.next, *next; l != &fr->active; l = next) {
        next = l->next;
        if (fetch_of(l)->broken) {
            end(fetch_of(l), SL_ENOMEM, "out of memory");
            next = fr->active.next; /* its callback may have ended others */
        }
    }
    while (!sl_list_empty(&fr->dead)) {
        struct sl_fetch *f = fetch_of(fr->dead.next);

        sl_list_unlink(&f->link);
        fetch_free(f);
    }
    while (!sl_list_empty(&fr->pending)) {
        struct sl_fetch *f = fetch_of(fr->pending.next);

        sl_list_unlink(&f->link);
        sl_list_push_back(&fr->active, &f->link);
        touch(f);
        f->start_ms = f->last_byte_ms;
        watch_time(f);
        f->added = curl_multi_add_handle(fr->multi, f->easy) == CURLM_OK;
        if (!f->added) {
            end(f, SL_ENOMEM, "out of memory");
        }
    }
}

/* Only when something is fetched: libcurl and the libraries behind it take more memory than all
 * the rest of us. */
static int begin(struct sl_fetcher *fr)
{
    if (fr->multi != NULL) {
        return SL_OK;
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return SL_ENOMEM;
    }
    fr->multi = curl_multi_init();
    if (fr->multi == NULL) {
        curl_global_cleanup();
        return SL_ENOMEM;
    }
    /* None of these can fail on a fresh handle. */
    (void)curl_multi_setopt(fr->multi, CURLMOPT_SOCKETFUNCTION, sl_fetcher_watch_socket);
    (void)curl_multi_setopt(fr->multi, CURLMOPT_SOCKETDATA, fr);
    (void)curl_multi_setopt(fr->multi, CURLMOPT_TIMERFUNCTION, set_multi_timer);
    (void)curl_multi_setopt(fr->multi, CURLMOPT_TIMERDATA, fr);
    (void)curl_multi_setopt(fr->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    (void)curl_multi_setopt(fr->multi, CURLMOPT_MAX_CONCURRENT_STREAMS, (long)STREAMS_MAX_N);
    return SL_OK;
}

int sl_fetcher_new(struct sl_loop *loop, struct sl_fetcher **out)
{
    struct sl_fetcher *fr = sl_alloc(sizeof(*fr));

    if (fr == NULL) {
        return SL_ENOMEM;
    }
    fr->magic = FETCHER_MAGIC;
    fr->loop = loop;
    sl_list_init(&fr->pending);
    sl_list_init(&fr->active);
    sl_list_init(&fr->dead);
    sl_list_init(&fr->socks);
    sl_timer_init(&fr->timer, loop, on_multi_timer);
    sl_task_init(&fr->task, on_task);
    *out = fr;
    return SL_OK;
}

void sl_fetcher_free(struct sl_fetcher *fr)
{
    struct sl_list *const lists[] = {&fr->pending, &fr->active, &fr->dead};

    for (size_t i = 0; i < SL_ARRAY_LEN(lists); i++) {
        while (!sl_list_empty(lists[i])) {
            struct sl_fetch *f = fetch_of(lists[i]->next);

            sl_timer_stop(&f->timer);
            sl_list_unlink(&f->link);
            fetch_free(f);
        }
    }
    if (fr->multi != NULL) {
        (void)curl_multi_cleanup(fr->multi); /* closes what it kept open, through our callback */
        curl_global_cleanup();
    }
    sl_timer_stop(&fr->timer);
    sl_task_cancel(&fr->task);
    fr->magic = 0;
    sl_free(fr);
}

int sl_fetch_start(struct sl_fetcher *fr, const struct sl_fetch_request *request,
                   const struct sl_fetch_ops *ops, void *arg, struct sl_fetch **out)
{
    struct sl_fetch *f = begin(fr) == SL_OK ? sl_alloc(sizeof(*f)) : NULL;

    if (f == NULL) {
        return SL_ENOMEM;
    }
    f->magic = FETCH_MAGIC;
    f->fetcher = fr;
    f->ops = ops;
    f->arg = arg;
    f->idle_timeout_ms = request->idle_timeout_ms;
    f->total_timeout_ms = request->total_timeout_ms;
    sl_timer_init(&f->timer, fr->loop, on_timer);
    f->easy = curl_easy_init();
    CURLcode rc = f->easy != NULL ? sl_fetch_setup(f, request) : CURLE_OUT_OF_MEMORY;
    /* None of these can fail on a handle that is. */
    (void)curl_easy_setopt(f->easy, CURLOPT_HEADERFUNCTION, on_head);
    (void)curl_easy_setopt(f->easy, CURLOPT_HEADERDATA, f);
    (void)curl_easy_setopt(f->easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(f->easy, CURLOPT_WRITEDATA, f);
    if (rc != CURLE_OK) {
        fetch_free(f);
        return rc == CURLE_OUT_OF_MEMORY ? SL_ENOMEM : SL_EIO;
    }
    sl_list_push_back(&fr->pending, &f->link);
    sl_task_post(fr->loop, &fr->task);
    *out = f;
    return SL_OK;
}

void sl_fetch_cancel(struct sl_fetch *fetch)
{
    SL_ASSERT(fetch->magic == FETCH_MAGIC, "fetch %p", (void *)fetch);
    if (!fetch->ended) {
        bury(fetch);
    }
}
