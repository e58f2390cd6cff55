/* SPDX-License-Identifier: Apache-2.0 */
/*
 * values: texts that mean something: sizes, addresses, names, paths, patterns.
 *
 * Thread:    any (pure, no I/O, no allocation)
 * Errors:    SL_ECONFIG at pos; what was expected, what was found, what to write
 */
#ifndef SL_CONFIG_VALUES_H
#define SL_CONFIG_VALUES_H

#include <sluiced/config.h>
#include <sluiced/defs.h>
#include <sluiced/err.h>
#include <sluiced/slice.h>

#include <stdint.h>

#define SL_SIZE_MAX_BYTES (1ULL << 50)

/* "512B", "64KiB", "1MiB", "10GiB": a whole number and a binary unit. At most 1 PiB. */
int sl_value_size(struct sl_slice text, const struct sl_pos *pos, uint64_t *out_bytes,
                  struct sl_error *err) SL_MUST_CHECK;

#define SL_SIZE_TEXT_BYTES 24

/* In the largest unit that divides it. buf has SL_SIZE_TEXT_BYTES; returns it. */
const char *sl_size_format(uint64_t bytes, char *buf);

/* "IPv4:port", "[IPv6]:port" or "unix:/path". port_min: 0 where the kernel may choose, else 1.
 * The host comes out in its canonical form, so that two spellings of it compare alike. */
int sl_value_address(struct sl_slice text, const struct sl_pos *pos, uint16_t port_min,
                     struct sl_address *out, struct sl_error *err) SL_MUST_CHECK;

/* The checks that a row of the option table may name. text is terminated. */
typedef int (*sl_value_check_fn)(struct sl_slice text, const struct sl_pos *pos,
                                 struct sl_error *err) SL_MUST_CHECK;

/* Of a listener, a route, a pool: they become labels of metrics. */
int sl_value_name(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;

/* RFC 1123 label: of a Kubernetes namespace or Service. */
int sl_value_label(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;

/* RFC 1123 subdomain: of most other objects of Kubernetes. */
int sl_value_kube_name(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;

/* The value of a label: of topology.kubernetes.io/zone. */
int sl_value_zone(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;

/* RFC 6335 5.1: name of a port, at most 15 characters, one of them a letter. */
int sl_value_port_name(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;

/* Of DNS, at most 253 bytes, lower case: a dot at its end says that it is complete. Labels may have
 * '_', as those of SRV records do. A numeric address is none. */
int sl_value_dns_name(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;

/* "10.96.0.10:53", "[fd00::a]:53": of a DNS server. */
int sl_value_dns_server(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;

/* Begins with '/', visible ASCII, no query, no fragment, no dot segments. */
int sl_value_url_path(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;

/* The target of a request to one of ours: as a path, and a query is allowed. */
int sl_value_url_target(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;

/* Lower case, no port. The pattern may begin with "*.". */
int sl_value_host(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;
int sl_value_host_pattern(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;

/* A name of a certificate, with at most one "*", at one end. */
int sl_value_san_pattern(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;

/* off, stdout, stderr or an absolute path. */
int sl_value_log_target(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;

/* RFC 9110 5.6.2: a token, at most 63 bytes. */
int sl_value_token(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;

/* A label of an endpoint: at most 63 visible characters of ASCII, "meta-llama/Llama-3.1-8B". */
int sl_value_tag(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;

int sl_value_not_empty(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;

#endif
