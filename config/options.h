/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options: the tables that say what may stand in a file.
 *
 * A row is all there is to an option: parsing, default, range, reference and the advice in an
 * error come from it. A new option: its field in include/sluiced/config.h, its row in options.c,
 * a test that names it; `SL_REGENERATE=1 make unit` rewrites the reference.
 *
 * Lifetime:  process (const)
 */
#ifndef SL_CONFIG_OPTIONS_H
#define SL_CONFIG_OPTIONS_H

#include <sluiced/defs.h>

#include "files.h"
#include "values.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sl_decoder;
struct sl_printer;
struct sl_yaml_node;

/* In brackets: the field that the row's offset names. */
enum sl_option_type {
    SL_OPTION_COUNT,    /* whole number (unsigned of any width) */
    SL_OPTION_DURATION, /* (uint64_t, ms; off is 0) */
    SL_OPTION_SIZE,     /* (uint64_t, bytes; off is UINT64_MAX) */
    SL_OPTION_WORD,     /* one of words (unsigned or enum of any width) */
    SL_OPTION_TEXT,     /* passes check (const char *) */
    SL_OPTION_TEXTS,    /* list of them (struct sl_strings) */
    SL_OPTION_FILE,     /* a path, passes check_file (const char *) */
    SL_OPTION_ADDRESS,  /* (struct sl_address); min: of the port */
    SL_OPTION_OWN,      /* what only read understands (whatever it fills) */
    SL_OPTION_SECTION,  /* a map; its rows' offsets count from this row's field */
    SL_OPTION_MAYBE,    /* a map that may be absent (pointer to const struct; NULL then) */
    SL_OPTION_LIST,     /* of maps (pointer to const struct, and a size_t at n_offset) */
    SL_OPTION_MAP, /* of names to maps (the same; the name goes to the section's name_offset) */
};

struct sl_word {
    const char *text; /* NULL ends the table */
    uint64_t value;
};

struct sl_section;

struct sl_option {
    const char *name;
    enum sl_option_type type;
    bool required;
    bool off_ok;          /* durations, sizes: `off` is a value; sections: as if all default */
    const char *fallback; /* the default, as one would write it; NULL: the field stays 0 */
    uint64_t min;         /* counts, durations, sizes, ports, length of a list */
    uint64_t max;
    const struct sl_word *words;
    const char *what; /* TEXT, TEXTS, FILE, ADDRESS, OWN and, if "a map" says too little, SECTION:
                         for errors and reference */
    sl_value_check_fn check;
    sl_file_check_fn check_file; /* NULL: the path is taken as it is */
    /* OWN: fills its part of base, the struct that the section describes. Reports to d. */
    int (*read)(struct sl_decoder *d, const struct sl_yaml_node *node, void *base);
    /* OWN: writes what was read, by print.h; nothing where it was not set. */
    void (*write)(struct sl_printer *p, const char *name, const void *base);
    const struct sl_section *section;
    bool (*is_used)(const void *base); /* SECTION: printed only then; NULL: always */
    const char *unique; /* LIST: no two items may have the same text under this key */
    bool ordered;       /* LIST: the order of its items means something */
    bool says_contents; /* FILE: what it holds is no secret, and a change of it a change */
    size_t offset;
    size_t width; /* of the field, bytes */
    size_t n_offset;
    const char *help;
};

#define SL_NO_OFFSET SIZE_MAX

struct sl_section {
    const char *title; /* in the reference */
    const struct sl_option *options;
    size_t options_n;
    size_t size_bytes;  /* of the struct; for MAYBE, LIST and MAP */
    size_t pos_offset;  /* of a struct sl_pos to fill, or SL_NO_OFFSET */
    size_t name_offset; /* MAP only */
    /* What rows cannot say about each other, asked when all of them are good; node is never NULL.
     * May fill fields. Reports to d. */
    int (*finish)(struct sl_decoder *d, const struct sl_yaml_node *node, void *base);
};

extern const struct sl_section sl_section_root;
extern const struct sl_section sl_section_ambiguous;     /* of struct sl_h1_policy */
extern const struct sl_section sl_section_balance;       /* of struct sl_pool_config */
extern const struct sl_section sl_section_pool;          /* of struct sl_pool_config */
extern const struct sl_section sl_section_retry;         /* of struct sl_retry_config */
extern const struct sl_section sl_section_health;        /* of struct sl_health_config */
extern const struct sl_section sl_section_limits;        /* of struct sl_limits_config */
extern const struct sl_section sl_section_queue;         /* of struct sl_queue_config */
extern const struct sl_section sl_section_endpoint;      /* of struct sl_static_endpoint */
extern const struct sl_section sl_section_endpoint_file; /* of a file of its own */

#define SL_DESCRIBE_BYTES 160

/* What an option takes, in words: "a duration from 1ms to 24h or off". buf has SL_DESCRIBE_BYTES;
 * returns it. */
const char *sl_option_describe(const struct sl_option *o, char *buf);

#endif
