/* SPDX-License-Identifier: Apache-2.0 */
#include "values.h"

#include "proxy/base/num.h"
#include "proxy/base/yaml_node.h"
#include "proxy/proto/field.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *suffix;
    uint64_t bytes;
} units[] = {{"B", 1}, {"KiB", 1ULL << 10}, {"MiB", 1ULL << 20}, {"GiB", 1ULL << 30}};

/* expected: "a name of a-z ...; write x" with the advice behind the semicolon in write. */
static int refuse(struct sl_slice text, const struct sl_pos *pos, const char *expected,
                  const char *write, struct sl_error *err)
{
    return sl_error_set(err, SL_ECONFIG, pos, "expected %s, found " SL_YAML_SHOWN_FMT "; write %s",
                        expected, SL_YAML_SHOWN_ARG(text), write);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_lower_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z');
}

/* All of text in a-z, 0-9 and inner, which may stand neither first nor last. */
static bool is_word(struct sl_slice text, const char *inner)
{
    if (text.len == 0 || !is_lower_alnum(text.ptr[0]) || !is_lower_alnum(text.ptr[text.len - 1])) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (!is_lower_alnum(text.ptr[i]) && strchr(inner, text.ptr[i]) == NULL) {
            return false;
        }
    }
    return true;
}

int sl_value_size(struct sl_slice text, const struct sl_pos *pos, uint64_t *out_bytes,
                  struct sl_error *err)
{
    size_t digits_n = 0;
    uint64_t value;

    while (digits_n < text.len && is_digit(text.ptr[digits_n])) {
        digits_n++;
    }
    if (digits_n == 0) {
        return refuse(text, pos, "a whole number and a unit", "512B, 64KiB, 1MiB or 10GiB", err);
    }
    struct sl_slice unit = {text.ptr + digits_n, text.len - digits_n};
    for (size_t i = 0; i < SL_ARRAY_LEN(units); i++) {
        if (!sl_slice_eq(unit, sl_slice_of(units[i].suffix))) {
            continue;
        }
        if (sl_num_parse_below((struct sl_slice){text.ptr, digits_n},
                               SL_SIZE_MAX_BYTES / units[i].bytes, &value) != SL_OK)
        {
            return refuse(text, pos, "at most 1048576GiB", "512B, 64KiB, 1MiB or 10GiB", err);
        }
        *out_bytes = value * units[i].bytes;
        return SL_OK;
    }
    return refuse(text, pos, "B, KiB, MiB or GiB right after the number",
                  "512B, 64KiB, 1MiB or 10GiB", err);
}

const char *sl_size_format(uint64_t bytes, char *buf)
{
    size_t i = bytes == 0 ? 0 : SL_ARRAY_LEN(units) - 1;

    while (bytes % units[i].bytes != 0) {
        i--;
    }
    (void)snprintf(buf, SL_SIZE_TEXT_BYTES, "%" PRIu64 "%s", bytes / units[i].bytes,
                   units[i].suffix);
    return buf;
}

/* A numeric host without brackets, into its canonical spelling. */
static bool parse_host(struct sl_slice text, int family, struct sl_address *out)
{
    char host[INET6_ADDRSTRLEN];
    unsigned char bytes[sizeof(struct in6_addr)];

    if (text.len >= sizeof(host)) {
        return false;
    }
    memcpy(host, text.ptr, text.len);
    host[text.len] = '\0';
    return inet_pton(family, host, bytes) == 1 &&
           inet_ntop(family, bytes, out->host, sizeof(out->host)) != NULL;
}

static int parse_unix(struct sl_slice path, struct sl_slice text, const struct sl_pos *pos,
                      struct sl_address *out, struct sl_error *err)
{
    struct sl_address a = {.is_unix = true};

    if (path.len < 2 || path.ptr[0] != '/') {
        return refuse(text, pos, "an absolute path behind unix:", "unix:/run/model.sock", err);
    }
    if (path.len >= sizeof(a.host)) { /* sun_path of sockaddr_un(7) with its end */
        return refuse(text, pos, "at most 107 bytes of path behind unix:", "a shorter one", err);
    }
    memcpy(a.host, path.ptr, path.len);
    *out = a;
    return SL_OK;
}

int sl_value_address(struct sl_slice text, const struct sl_pos *pos, uint16_t port_min,
                     struct sl_address *out, struct sl_error *err)
{
    const char *write = "127.0.0.1:8080, [::1]:8080 or unix:/path";
    struct sl_address a = {.is_unix = false};
    uint64_t port;

    if (sl_slice_starts(text, SL_SLICE("unix:"))) {
        return parse_unix((struct sl_slice){text.ptr + 5, text.len - 5}, text, pos, out, err);
    }
    size_t host_len = text.len;
    while (host_len > 0 && text.ptr[host_len - 1] != ':') {
        host_len--;
    }
    if (host_len == 0) {
        return refuse(text, pos, "an address with a port", write, err);
    }
    struct sl_slice digits = {text.ptr + host_len, text.len - host_len};
    struct sl_slice host = {text.ptr, host_len - 1};
    bool bracketed = host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    if (bracketed) {
        host = (struct sl_slice){host.ptr + 1, host.len - 2};
    }
    if (!parse_host(host, bracketed ? AF_INET6 : AF_INET, &a)) {
        return refuse(text, pos, "a numeric address with a port", write, err);
    }
    if (sl_num_parse_below(digits, UINT16_MAX, &port) != SL_OK || port < port_min) {
        return refuse(text, pos,
                      port_min == 0 ? "a port from 0 to 65535" : "a port from 1 to 65535", write,
                      err);
    }
    a.port = (uint16_t)port;
    *out = a;
    return SL_OK;
}

void sl_address_format(const struct sl_address *a, char *buf, size_t size_bytes)
{
    if (a->is_unix) {
        (void)snprintf(buf, size_bytes, "unix:%s", a->host);
    } else if (strchr(a->host, ':') != NULL) {
        (void)snprintf(buf, size_bytes, "[%s]:%u", a->host, a->port);
    } else {
        (void)snprintf(buf, size_bytes, "%s:%u", a->host, a->port);
    }
}

int sl_value_name(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
{
    if (text.len > 63 || !is_word(text, "-_.")) {
        return refuse(text, pos, "a name of at most 63 of a-z, 0-9, '-', '_' and '.'",
                      "one like llama-v1, with a letter or digit at both ends", err);
    }
    return SL_OK;
}

int sl_value_label(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
{
    if (text.len > 63 || !is_word(text, "-")) {
        return refuse(text, pos, "a Kubernetes name of at most 63 of a-z, 0-9 and '-'",
                      "it as `kubectl get` shows it", err);
    }
    return SL_OK;
}

/* Labels of 1 to 63 bytes (RFC 1035 2.3.4), the last not all of digits: that is an address. */
static bool is_dns_name(struct sl_slice text)
{
    size_t label_len = 0;
    bool has_letter = false;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (c == '.') {
            if (label_len == 0 || label_len > 63) {
                return false;
            }
            label_len = 0;
            has_letter = has_letter && i + 1 == text.len;
        } else if (is_lower_alnum(c) || c == '-' || c == '_') {
            label_len++;
            has_letter = has_letter || !is_digit(c);
        } else {
            return false;
        }
    }
    return text.len > 0 && has_letter && label_len <= 63;
}

int sl_value_dns_name(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
{
    struct sl_address address;

    if (parse_host(text, AF_INET, &address) || parse_host(text, AF_INET6, &address)) {
        return refuse(text, pos, "a name", "static: [\"10.0.0.7:8000\"] for an address", err);
    }
    if (text.len > 253 || !is_dns_name(text)) {
        return refuse(text, pos, "a name of at most 253 of a-z, 0-9, '-', '_' and '.'",
                      "one like llama.prod.svc.cluster.local", err);
    }
    return SL_OK;
}

int sl_value_kube_name(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
{
    if (text.len > 253 || !is_word(text, "-.")) {
        return refuse(text, pos, "a Kubernetes name of at most 253 of a-z, 0-9, '-' and '.'",
                      "it as `kubectl get` shows it", err);
    }
    return SL_OK;
}

int sl_value_dns_server(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
{
    struct sl_address address;

    if (sl_slice_starts(text, SL_SLICE("unix:")) ||
        sl_value_address(text, pos, 1, &address, err) != SL_OK)
    {
        return refuse(text, pos, "the address of a DNS server with its port",
                      "\"10.96.0.10:53\" or \"[fd00::a]:53\"", err);
    }
    return SL_OK;
}

static bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int sl_value_zone(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
{
    bool good = text.len >= 1 && text.len <= 63 && is_letter_or_digit(text.ptr[0]) &&
                is_letter_or_digit(text.ptr[text.len - 1]);

    for (size_t i = 0; good && i < text.len; i++) {
        good = is_letter_or_digit(text.ptr[i]) || strchr("-_.", text.ptr[i]) != NULL;
    }
    if (!good) {
        return refuse(text, pos,
                      "the name of a zone of at most 63 letters, digits, '-', '_' and '.'",
                      "it as the node's label topology.kubernetes.io/zone has it, or auto", err);
    }
    return SL_OK;
}

int sl_value_port_name(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
{
    bool has_letter = false;

    for (size_t i = 0; i < text.len; i++) {
        has_letter = has_letter || (text.ptr[i] >= 'a' && text.ptr[i] <= 'z');
    }
    if (text.len > 15 || !has_letter || !is_word(text, "-")) {
        return refuse(text, pos, "a port from 1 to 65535 or its name", "8000 or http", err);
    }
    return SL_OK;
}

/* "." or ".." between slashes: a normalised path has none, so this one would never match. */
static bool has_dot_segment(struct sl_slice path)
{
    size_t start = 0;

    for (size_t i = 0; i <= path.len; i++) {
        if (i < path.len && path.ptr[i] != '/') {
            continue;
        }
        struct sl_slice segment = {path.ptr + start, i - start};
        if (sl_slice_eq(segment, SL_SLICE(".")) || sl_slice_eq(segment, SL_SLICE(".."))) {
            return true;
        }
        start = i + 1;
    }
    return false;
}

static bool is_visible(struct sl_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] <= ' ' || text.ptr[i] > '~') {
            return false;
        }
    }
    return true;
}

int sl_value_url_path(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
{
    if (!sl_slice_starts(text, SL_SLICE("/")) || !is_visible(text)) {
        return refuse(text, pos, "a path that begins with \"/\", without spaces",
                      "one like /v1/ (a prefix) or /v1/models", err);
    }
    if (strpbrk(text.ptr, "?#") != NULL || has_dot_segment(text)) {
        return refuse(text, pos, "a path without \"?\", \"#\", \".\" and \"..\" segments",
                      "one like /v1/ (a prefix) or /v1/models", err);
    }
    return SL_OK;
}

int sl_value_url_target(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
{
    if (!sl_slice_starts(text, SL_SLICE("/")) || !is_visible(text) || strchr(text.ptr, '#') != NULL)
    {
        return refuse(text, pos, "a path that begins with \"/\", without spaces and \"#\"",
                      "one like /health", err);
    }
    return SL_OK;
}

/* Labels of letters, digits, '-' and '_' (seen in the field), joined by single dots. */
static bool is_host(struct sl_slice text)
{
    if (text.len > 253 || !is_word(text, "-_.")) {
        return false;
    }
    for (size_t i = 1; i < text.len; i++) {
        if (text.ptr[i] == '.' && text.ptr[i - 1] == '.') {
            return false;
        }
    }
    return true;
}

int sl_value_host(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
{
    if (!is_host(text)) {
        return refuse(text, pos, "a host name in lower case, without port", "llm.example.com", err);
    }
    return SL_OK;
}

int sl_value_host_pattern(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
{
    struct sl_slice name = text;

    if (sl_slice_starts(text, SL_SLICE("*."))) {
        name = (struct sl_slice){text.ptr + 2, text.len - 2};
    }
    if (!is_host(name)) {
        return refuse(text, pos, "a host name in lower case, without port",
                      "llm.example.com or *.example.com", err);
    }
    return SL_OK;
}

int sl_value_san_pattern(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
{
    const char *star = strchr(text.ptr, '*');
    bool at_one_end = star == NULL || (star == strrchr(text.ptr, '*') &&
                                       (star == text.ptr || star == text.ptr + text.len - 1));

    if (text.len == 0 || !is_visible(text) || !at_one_end) {
        return refuse(text, pos, "a DNS, IP or URI name, with one \"*\" at one end or none",
                      "llm.example.com or spiffe://corp/ns/prod/*", err);
    }
    if (sl_slice_eq(text, SL_SLICE("*"))) {
        return refuse(text, pos, "a pattern that not every name matches",
                      "no list at all to accept any name", err);
    }
    return SL_OK;
}

int sl_value_log_target(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
{
    if (sl_slice_eq(text, SL_SLICE("off")) || sl_slice_eq(text, SL_SLICE("stdout")) ||
        sl_slice_eq(text, SL_SLICE("stderr")) || (text.len > 1 && text.ptr[0] == '/'))
    {
        return SL_OK;
    }
    return refuse(text, pos, "off, stdout, stderr or an absolute path",
                  "one like /var/log/sluiced/access.log", err);
}

int sl_value_token(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
{
    if (text.len > 63 || !sl_field_is_token(text)) {
        return refuse(text, pos, "a token of at most 63 bytes", "one like edge-1", err);
    }
    return SL_OK;
}

int sl_value_tag(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
{
    bool good = text.len > 0 && text.len <= 63;

    for (size_t i = 0; good && i < text.len; i++) {
        good = text.ptr[i] > ' ' && text.ptr[i] < 0x7f;
    }
    return good ? SL_OK
                : refuse(text, pos, "1 to 63 visible characters of ASCII", "one like eu-west-1a",
                         err);
}

int sl_value_not_empty(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
{
    if (text.len == 0) {
        return sl_error_set(err, SL_ECONFIG, pos, "expected a name, found nothing");
    }
    return SL_OK;
}
