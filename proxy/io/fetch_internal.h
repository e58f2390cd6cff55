/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch_internal: what fetch.c (how it runs), fetch_setup.c (what is asked) and fetch_socket.c
 * (over which connections) share.
 */
#ifndef SL_IO_FETCH_INTERNAL_H
#define SL_IO_FETCH_INTERNAL_H

#include "fetch.h"
#include "loop.h"

#include "proxy/base/list.h"

#include <curl/curl.h>

#define FETCH_MAGIC 0x66746368U

enum pem {
    PEM_CA,
    PEM_CERT,
    PEM_KEY,
    PEMS_N,
};

struct sl_fetcher {
    uint32_t magic;
    struct sl_loop *loop;
    CURLM *multi; /* NULL until something is fetched */
    struct sl_timer timer;
    struct sl_task task;
    struct sl_list pending;
    struct sl_list active;
    struct sl_list dead;
    struct sl_list socks; /* what libcurl has us watch */
};

struct sl_fetch {
    uint32_t magic;
    bool added;  /* the multi handle knows it */
    bool ended;  /* no callback may follow */
    bool broken; /* out of memory in the middle; the task ends it */
    struct sl_list link;
    struct sl_fetcher *fetcher;
    CURL *easy;
    struct curl_slist *headers;
    struct curl_slist *connect_to;
    struct {
        char *ptr;
        size_t len;
    } pems[PEMS_N]; /* ours: libcurl would not wipe its copy of a key */
    const struct sl_fetch_ops *ops;
    void *arg;
    struct sl_timer timer;
    uint64_t idle_timeout_ms;
    uint64_t total_timeout_ms;
    uint64_t start_ms;
    uint64_t last_byte_ms;
    size_t head_bytes;
    uint16_t status;
    char error[CURL_ERROR_SIZE];
    char warning[SL_FETCH_WARNING_BYTES];
};

/* Sets all of f's handle that the request decides. On failure f is still freed by its owner. */
CURLcode sl_fetch_setup(struct sl_fetch *f, const struct sl_fetch_request *r) SL_MUST_CHECK;

/* Tells libcurl that fd is ready, or of its timer, and ends what it says has ended. */
void sl_fetcher_act(struct sl_fetcher *fr, curl_socket_t fd, int events);

/* CURLMOPT_SOCKETFUNCTION; arg: the fetcher. */
int sl_fetcher_watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *assigned);

/* For a fetch whose time is up, before libcurl hears of it: one stream may be slow for reasons of
 * its own, but a connection that brought nothing to anyone for as long is cut, so that all who are
 * on it hear of it now and no later fetch is sent there. */
void sl_fetch_cut_silent(struct sl_fetch *f);

#endif
