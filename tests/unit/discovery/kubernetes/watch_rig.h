/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_rig: a list and watch of slices against a fake API server, for the tests of its parts.
 */
#ifndef SL_TEST_WATCH_RIG_H
#define SL_TEST_WATCH_RIG_H

#include "discovery/kubernetes/list_watch.h"
#include "tests/unit/check.h"
#include "tests/unit/discovery/fake_api.h"

#define LIST "GET /apis/x?labelSelector=app%3Dllama"
#define PAGED LIST "&limit=500"
#define WATCH "GET /apis/x?watch=1&allowWatchBookmarks=true&labelSelector=app%3Dllama"
#define STREAM                                                                     \
    "GET /apis/x?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan" \
    "&allowWatchBookmarks=true&labelSelector=app%3Dllama"
#define EXPIRED                                                                                  \
    "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{}," \
    "\"status\":\"Failure\",\"message\":\"too old resource version: 1 (432)\","                  \
    "\"reason\":\"Expired\",\"code\":410}}\n"
#define SLICE(name, version)                                              \
    "{\"metadata\":{\"name\":\"" name "\",\"resourceVersion\":\"" version \
    "\"},"                                                                \
    "\"addressType\":\"IPv4\",\"endpoints\":[{\"addresses\":[\"10.0.0.1\"]}],\"ports\":null}"
#define NAMED(name, version) \
    "{\"metadata\":{\"name\":\"" name "\",\"resourceVersion\":\"" version "\"}}"
#define EVENT(type, name, version) "{\"type\":\"" type "\",\"object\":" SLICE(name, version) "}\n"
#define BOOKMARK(version, more)                                                    \
    "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"EndpointSlice\",\"metadata\":{" \
    "\"resourceVersion\":\"" version "\"" more                                     \
    "},\"addressType\":\"\",\"endpoints\":null,"                                   \
    "\"ports\":null}}\n"
#define MARKER(version) \
    BOOKMARK(version, ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}")
#define PAGE(version, more, items) \
    "{\"metadata\":{\"resourceVersion\":\"" version "\"" more "},\"items\":[" items "]}"

struct rig {
    struct sl_loop *loop;
    struct sl_fetcher *fetcher;
    struct fake_api api;
    struct sl_kube_access access;
    struct sl_list_watch_times times;
    struct sl_list_watch_conf conf;
    struct sl_list_watch lw;
    bool started;
    size_t changes_n;
};

extern struct rig rig;

/* Setups: who fails tries again soon; all that would end by itself takes a minute, comparisons come
 * never. */
int rig_open(void **state);            /* nothing runs: change times and conf, then rig_start */
int rig_start_listing(void **state);   /* the server refuses to stream lists */
int rig_start_streaming(void **state); /* it does not */
int rig_close(void **state);
void rig_start(void);

/* Turns the loop until the store holds these, "a,b"; or now holds them. */
void expect(const char *names);
const char *rig_names(void);
/* Until the last error has part in it, and nothing is connected. */
void expect_error(const char *part);
/* Until *at is value. */
void expect_count(const uint64_t *at, uint64_t value, const char *what);

/* The first list with slice a, version 7, at version 10; returns the watch that follows, opened. */
struct fake_conn *rig_listed(void);
/* The same by a stream: that is the watch then. */
struct fake_conn *rig_streamed(void);

#endif
