/* SPDX-License-Identifier: Apache-2.0 */
#include "docs.h"

#include "options.h"

#include "proxy/base/text.h"

static const char intro[] =
    "<!-- Generated from config/options.c: `SL_REGENERATE=1 make unit` writes it anew. "
    "-->\n"
    "# Configuration\n"
    "\n"
    "One file in YAML, of which JSON is a subset. `sluiced check -c FILE` reads it as `run` would "
    "and changes nothing. What is not in this page is refused: an error names the file, the line, "
    "the column, the key, what was expected and what was found.\n"
    "\n"
    "- Refused so that a file can be read in one way only: anchors and aliases (`&a`, `*a`), merge "
    "keys (`<<`), tags (`!x`), duplicate keys, a second document.\n"
    "- A value is read by the option that it belongs to: `no` is never false, `1.10` never `1.1`. "
    "Quotes make no difference, but YAML itself wants them around `[::1]:80` and `*.example.com`.\n"
    "- A duration is one whole number and one of `ms`, `s`, `m`, `h`: `150ms`, `2s`. A size is one "
    "whole number and one of `B`, `KiB`, `MiB`, `GiB`. Where `off` is a value, it says so.\n"
    "- An address is `127.0.0.1:8080`, `[::1]:8080` or `unix:/run/model.sock`: numeric, so that no "
    "resolver decides where to listen or connect.\n"
    "- The name of a listener, a route or a pool has at most 63 of `a-z`, `0-9`, `-`, `_`, `.`, "
    "with a letter or digit at both ends.\n"
    "- A relative path of a file counts from the folder of the configuration. Files must be there "
    "and readable when it is loaded. Secrets are given by file only.\n"
    "- A label selector has the usual forms, joined by commas: `a=b`, `a!=b`, `a in (b,c)`, "
    "`a notin (b)`, `a`, `!a`.\n"
    "- Limits: 4 MiB, 256 listeners, 1024 routes a listener, 1024 pools.\n";

static void write_default(struct sl_text *out, const struct sl_option *o)
{
    if (o->required) {
        sl_text_append_str(out, "required");
    } else if (o->fallback != NULL) {
        sl_text_printf(out, "`%s`", o->fallback);
    }
}

static void write_section(struct sl_text *out, const struct sl_section *s)
{
    char what[SL_DESCRIBE_BYTES];

    if (s != &sl_section_root) {
        sl_text_printf(out, "\n## `%s`\n", s->title);
    } else {
        sl_text_printf(out, "\n## %s\n", s->title);
    }
    sl_text_append_str(out, "\n| key | value | default | |\n|---|---|---|---|\n");
    for (size_t i = 0; i < s->options_n; i++) {
        const struct sl_option *o = &s->options[i];

        sl_text_printf(out, "| `%s` | %s | ", o->name, sl_option_describe(o, what));
        write_default(out, o);
        sl_text_printf(out, " | %s |\n", o->help);
    }
    for (size_t i = 0; i < s->options_n; i++) {
        if (s->options[i].section != NULL) {
            write_section(out, s->options[i].section);
        }
    }
}

void sl_config_write_docs(struct sl_text *out)
{
    sl_text_append_str(out, intro);
    write_section(out, &sl_section_root);
}
