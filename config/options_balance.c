/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options_balance: how a pool picks; the rows of `balance:` and what reads them.
 */
#include <sluiced/balancer.h>
#include <sluiced/config.h>

#include "rows.h"
#include "shapes.h"
#include "validate.h"

#include "proxy/base/num.h"

enum {
    BOUND_MIN_PCT = 101,
    BOUND_MAX_PCT = 1000
};

/* ---- balance.key */

/* One word, so that `source: false` is refused: it would say nothing. */
static const struct sl_word only_true[] = {{"true", SL_BALANCE_KEY_SOURCE}, {NULL, 0}};

static const struct sl_option key_rows[] = {
    {.name = "header",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_balance_key_config, name),
     .what = "the name of a header field",
     .check = sl_value_token,
     .help = "The value of this field, of the first where there are several: `x-session-id`. A "
             "name with `_` needs `ambiguous: {underscores: keep}`."},
    {.name = "cookie",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_balance_key_config, name),
     .what = "the name of a cookie",
     .check = sl_value_token,
     .help = "The value of this cookie, which somebody else must set."},
    {.name = "query",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_balance_key_config, name),
     .what = "the name of a parameter",
     .check = sl_value_tag,
     .help = "The value of this parameter of the query; names and values are compared as they are "
             "written, `%41` is not `A`."},
    {.name = "source",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_balance_key_config, kind),
     .words = only_true,
     .help = "The client's address, as the access log has it: behind `trusted_proxies` it is the "
             "one that they name. None on a unix socket."},
};

static int finish_key(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    static const char *const names[] = {"header", "cookie", "query", "source", NULL};
    static const enum sl_balance_key_kind kinds[] = {SL_BALANCE_KEY_HEADER, SL_BALANCE_KEY_COOKIE,
                                                     SL_BALANCE_KEY_QUERY, SL_BALANCE_KEY_SOURCE};
    struct sl_balance_key_config *key = base;
    int rc = sl_want_one_of(d, node, names, "header: x-session-id");

    for (size_t i = 0; rc == SL_OK && i < SL_ARRAY_LEN(kinds); i++) {
        if (sl_yaml_find(node, sl_slice_of(names[i])) != NULL) {
            key->kind = kinds[i];
        }
    }
    return rc;
}

static const struct sl_section key_section = {
    .title = "pools.NAME.balance.key",
    SL_ROWS(key_rows),
    .pos_offset = SL_NO_OFFSET,
    .finish = finish_key,
};

/* ---- balance, the map */

static int read_policy(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    struct sl_pool_config *pool = base;
    const struct sl_balancer_ops *ops;
    int rc = sl_decode_want_text(d, node, "the name of a policy");

    if (rc != SL_OK) {
        return rc;
    }
    rc = sl_balancer_get(node->text.ptr, sl_decode_at(d, node), &ops, &d->err);
    if (rc != SL_OK) {
        return sl_decode_report(d, rc);
    }
    pool->balance = ops->name;
    return SL_OK;
}

/* "1.25": a whole number, and one or two digits behind a point. */
static bool parse_bound(struct sl_slice text, uint32_t *out_pct)
{
    struct sl_slice whole = {text.ptr, 0};
    uint64_t whole_n;
    uint64_t pct = 0;

    while (whole.len < text.len && text.ptr[whole.len] != '.') {
        whole.len++;
    }
    if (sl_num_parse_below(whole, BOUND_MAX_PCT / 100, &whole_n) != SL_OK) {
        return false;
    }
    if (whole.len < text.len) {
        struct sl_slice digits = {whole.ptr + whole.len + 1, text.len - whole.len - 1};
        if (digits.len > 2 || sl_num_parse_below(digits, 99, &pct) != SL_OK) {
            return false;
        }
        pct *= digits.len == 1 ? 10 : 1;
    }
    pct += whole_n * 100;
    if (pct < BOUND_MIN_PCT || pct > BOUND_MAX_PCT) {
        return false;
    }
    *out_pct = (uint32_t)pct;
    return true;
}

static int read_bound(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    struct sl_pool_config *pool = base;
    char found[SL_YAML_FOUND_BYTES];

    if (node->kind == SL_YAML_TEXT && sl_slice_eq(node->text, SL_SLICE("off"))) {
        pool->balance_bound_pct = 0;
        return SL_OK;
    }
    if (node->kind == SL_YAML_TEXT && parse_bound(node->text, &pool->balance_bound_pct)) {
        return SL_OK;
    }
    return sl_decode_report(
        d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                        "expected a number from 1.01 to 10 with at most two digits behind the "
                        "point, or off, found %s; write 1.25",
                        sl_yaml_found(node, found)));
}

static const struct sl_option balance_rows[] = {
    {.name = "policy",
     .type = SL_OPTION_OWN,
     .required = true,
     .what = "the name of a policy",
     .read = read_policy,
     .help = "As above."},
    {.name = "key",
     .type = SL_OPTION_SECTION,
     SL_FIELD(sl_pool_config, balance_key),
     .what = "a map with header, cookie, query or source",
     .section = &key_section,
     .help = "What ring_hash and maglev tell requests apart by; they need one. A request that has "
             "none, or an empty one, goes to the less busy of two endpoints."},
    {.name = "bound",
     .type = SL_OPTION_OWN,
     .what = "a number from 1.01 to 10, or off",
     .read = read_bound,
     .fallback = "1.25",
     .help = "Of ring_hash and maglev: an endpoint that has more than so many times its share, by "
             "weight, of the requests in flight is left for another one. The lower, the more even "
             "the load; the higher, the more keys are at home."},
};

/* What stands where the policy makes nothing of it. */
static int refuse_idle(struct sl_decoder *d, const struct sl_yaml_node *node, const char *name,
                       const char *policy)
{
    const struct sl_yaml_node *n = sl_yaml_find(node, sl_slice_of(name));

    if (n == NULL) {
        return SL_OK;
    }
    return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at_key(d, n),
                                            "means nothing to %s; remove it, or write policy: "
                                            "ring_hash or policy: maglev",
                                            policy));
}

static bool takes_key(const struct sl_pool_config *pool)
{
    const struct sl_balancer_ops *ops;
    struct sl_error err;

    return sl_balancer_get(pool->balance, NULL, &ops, &err) == SL_OK && ops->takes_key;
}

/* Not the client's address, as some would have it: behind another proxy that is one endpoint for
 * all, and nobody would see why. */
static int want_key(struct sl_decoder *d, const struct sl_yaml_node *node,
                    const struct sl_pool_config *pool)
{
    return sl_decode_report(
        d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                        "%s needs a key; write { policy: %s, key: { header: x-session-id } }, or "
                        "key: { source: true } for the client's address",
                        pool->balance, pool->balance));
}

static int finish_balance(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    const struct sl_pool_config *pool = base;

    if (takes_key(pool)) {
        return pool->balance_key.kind != SL_BALANCE_KEY_NONE ? SL_OK : want_key(d, node, pool);
    }
    int rc = refuse_idle(d, node, "key", pool->balance);
    return sl_decode_worse(rc, refuse_idle(d, node, "bound", pool->balance));
}

const struct sl_section sl_section_balance = {
    .title = "pools.NAME.balance",
    SL_ROWS(balance_rows),
    .pos_offset = SL_NO_OFFSET,
    .finish = finish_balance,
};

int sl_shape_balance(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    const struct sl_pool_config *pool = base;

    if (node->kind == SL_YAML_MAP) {
        return sl_decode_section(d, &sl_section_balance, node, base);
    }
    int rc = sl_decode_want_text(d, node, "the name of a policy or a map with one");
    if (rc == SL_OK) {
        rc = read_policy(d, node, base);
    }
    return rc == SL_OK && takes_key(pool) ? want_key(d, node, pool) : rc;
}
