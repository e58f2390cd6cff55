/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch_internal: what fetch.c (how it runs) and fetch_setup.c (what is asked) share.
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

struct sl_fetch {
    uint32_t magic;
    bool added;  /* the multi handle knows it */
    bool ended;  /* no callback may follow */
    bool broken; /* out of memory in the middle; the task ends it */
    struct sl_list link;
    struct sl_fetcher *fetcher;
    CURL *easy;
    struct curl_slist *headers;
    struct {
        char *ptr;
        size_t len;
    } pems[PEMS_N]; /* ours: libcurl would not wipe its copy of a key */
    const struct sl_fetch_ops *ops;
    void *arg;
    struct sl_timer idle_timer;
    uint64_t idle_timeout_ms;
    uint64_t last_byte_ms;
    size_t head_bytes;
    uint16_t status;
    char error[CURL_ERROR_SIZE];
};

/* Sets all of f's handle that the request decides. On failure f is still freed by its owner. */
CURLcode sl_fetch_setup(struct sl_fetch *f, const struct sl_fetch_request *r) SL_MUST_CHECK;

#endif
