/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics_table: which metrics there are: one row a family, for the text and for the docs.
 *
 * Thread:    any (constant)
 */
#ifndef SL_ADMIN_METRICS_TABLE_H
#define SL_ADMIN_METRICS_TABLE_H

#include <sluiced/endpoint.h>
#include <sluiced/metrics.h>

#include <stddef.h>

enum sl_metric_type {
    SL_METRIC_COUNTER,
    SL_METRIC_GAUGE,
    SL_METRIC_HISTOGRAM,
};

/* Where the samples come from, and so with which labels. */
enum sl_metric_source {
    SL_METRIC_BUILD,         /* 1, labelled with the version */
    SL_METRIC_PROCESS,       /* member of struct sl_process_info */
    SL_METRIC_RELOAD_OK,     /* whether it has no reload_error */
    SL_METRIC_LOG_DROPPED,   /* sl_log_dropped_n() */
    SL_METRIC_SERIES,        /* value of the scope's series */
    SL_METRIC_OPEN,          /* value less the one after it: begun and not ended */
    SL_METRIC_REASONS,       /* values from there on, one a reason */
    SL_METRIC_REQUESTS,      /* the same, one a reason and class of status codes */
    SL_METRIC_REFUSALS,      /* values from there on, one a refusal of a retry */
    SL_METRIC_SIDES,         /* member of struct sl_side_info */
    SL_METRIC_STATES,        /* endpoints of a pool in each state */
    SL_METRIC_POOLS,         /* member of struct sl_pool_info */
    SL_METRIC_AGES,          /* how long ago the member is, where it ever was */
    SL_METRIC_SOURCE_STATES, /* 1 for the one state that discovery is in, else 0 */
    SL_METRIC_RELISTS,       /* lists of discovery, by cause */
    SL_METRIC_ENDPOINTS,     /* value of enum sl_metric_endpoint_value */
    SL_METRIC_SOURCES_N,
};

/* How a member is stored. */
enum sl_metric_kind {
    SL_METRIC_U64,
    SL_METRIC_U32,
    SL_METRIC_BOOL,
    SL_METRIC_MS, /* u64 in milliseconds, said in seconds */
};

/* The stats of an endpoint (enum sl_endpoint_stat), and its condition. */
enum sl_metric_endpoint_value {
    SL_METRIC_IN_FLIGHT = SL_ENDPOINT_STATS_N,
    SL_METRIC_CONNECTIONS,
    SL_METRIC_HEALTHY,
    SL_METRIC_EJECTED,
    SL_METRIC_ENDPOINT_VALUES_N,
};

struct sl_metric {
    const char *name;
    const char *labels; /* for the docs */
    const char *help;
    enum sl_metric_type type;
    enum sl_metric_source source;
    enum sl_metric_kind kind; /* of a member */
    enum sl_scope scope;      /* of a series */
    size_t at;                /* offset of the member, or value */
};

extern const struct sl_metric sl_metrics[];
extern const size_t sl_metrics_n;

const char *sl_metric_type_name(enum sl_metric_type type); /* static */

#endif
