/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/config.h>

#include "rows.h"

#include "proxy/proto/h1.h"

static const struct sl_word underscore_words[] = {
    {"drop", SL_H1_UNDERSCORES_DROP},
    {"keep", SL_H1_UNDERSCORES_KEEP},
    {"refuse", SL_H1_UNDERSCORES_REFUSE},
    {NULL, 0},
};

/* By the flag of the policy that each sets, the first being its default. */
static const struct sl_word merge_or_keep[] = {{"merge", false}, {"keep", true}, {NULL, 0}};
static const struct sl_word keep_or_refuse[] = {{"keep", false}, {"refuse", true}, {NULL, 0}};
static const struct sl_word refuse_or_keep[] = {{"refuse", false}, {"keep", true}, {NULL, 0}};
static const struct sl_word refuse_or_decode[] = {{"refuse", false}, {"decode", true}, {NULL, 0}};

static const struct sl_option ambiguous_rows[] = {
    {.name = "underscores",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_h1_policy, underscores),
     .words = underscore_words,
     .fallback = "drop",
     .help = "Fields with `_` in the name, which CGI and its heirs take for `-`: X_Forwarded_For "
             "is an alias. Dropped ones are counted. In trailers they are dropped whatever this "
             "says."},
    {.name = "double_slash",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_h1_policy, uri.keep_slashes),
     .words = merge_or_keep,
     .fallback = "merge",
     .help = "`//` in a path: one slash, or an empty segment."},
    {.name = "escaped_slash",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_h1_policy, uri.refuse_escaped_slash),
     .words = keep_or_refuse,
     .fallback = "keep",
     .help = "`%2F` in a path. Kept, it is no separator: routes see it as it is, and so does the "
             "endpoint."},
    {.name = "escaped_backslash",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_h1_policy, uri.allow_escaped_backslash),
     .words = refuse_or_keep,
     .fallback = "refuse",
     .help = "`%5C` in a path, a separator to some."},
    {.name = "escaped_nul",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_h1_policy, uri.allow_escaped_nul),
     .words = refuse_or_keep,
     .fallback = "refuse",
     .help = "`%00` in a path, its end to some."},
    {.name = "escaped_dots",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_h1_policy, uri.allow_escaped_dots),
     .words = refuse_or_decode,
     .fallback = "refuse",
     .help = "`/%2e%2e/`, or `..` beside an escaped separator. Decoded, the former is carried out "
             "as `/../` is, and the latter stays."},
    {.name = "dot_params",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_h1_policy, uri.allow_dot_params),
     .words = refuse_or_keep,
     .fallback = "refuse",
     .help = "`/..;x/`, which Java servers take for `/../`."},
    {.name = "backslash",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_h1_policy, uri.allow_backslash),
     .words = refuse_or_keep,
     .fallback = "refuse",
     .help = "A raw backslash in a path."},
    {.name = "high_bytes",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_h1_policy, uri.allow_8bit),
     .words = refuse_or_keep,
     .fallback = "refuse",
     .help = "Raw bytes above 0x7f in path and query, as clients send that do not escape UTF-8."},
};

const struct sl_section sl_section_ambiguous = {
    .title = "listeners[].http.ambiguous",
    SL_ROWS(ambiguous_rows),
    .size_bytes = sizeof(struct sl_h1_policy),
    .pos_offset = SL_NO_OFFSET,
};
