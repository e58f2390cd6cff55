/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/base/alloc.h"
#include "proxy/base/arena.h"
#include "proxy/base/yaml.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

struct reading {
    struct sl_arena arena;
    const struct sl_yaml_node *root;
    struct sl_error err;
    int rc;
};

static void read_input(struct reading *r, const struct sl_yaml_input *in)
{
    memset(r, 0, sizeof(*r));
    sl_arena_init(&r->arena, 4096, 0, NULL, 0);
    r->rc = sl_yaml_read(in, &r->arena, &r->root, &r->err);
}

static void read_text(struct reading *r, struct sl_slice text)
{
    const struct sl_yaml_input in = {
        .text = text,
        .file = "f.yaml",
        .root_name = "yaml",
        .refusal = "broken YAML",
    };

    read_input(r, &in);
}

static void scalars_are_text_and_know_where_they_stand(void **state)
{
    static const char text[] =
        "\xef\xbb\xbf"
        "a: no\n"
        "b:\n"
        "  - 1.10\n"
        "  - { c: \"x y\", d: 'it''s' }\n"
        "e: # nothing\n";
    char path[SL_YAML_PATH_BYTES];
    struct reading r;
    (void)state;

    read_text(&r, SL_SLICE(text));
    check(r.rc == SL_OK, "%s", r.err.message);
    const struct sl_yaml_node *a = sl_yaml_find(r.root, SL_SLICE("a"));
    assert_string_equal(a->text.ptr, "no");
    const struct sl_yaml_node *b = sl_yaml_find(r.root, SL_SLICE("b"));
    assert_int_equal(b->kind, SL_YAML_LIST);
    assert_int_equal(b->children_n, 2);
    assert_string_equal(b->first->text.ptr, "1.10");
    const struct sl_yaml_node *d = sl_yaml_find(b->last, SL_SLICE("d"));
    assert_string_equal(d->text.ptr, "it's");
    assert_int_equal(d->line, 4);
    assert_int_equal(d->key_column, 17);
    assert_int_equal(d->column, 20);
    sl_yaml_path(d, NULL, path);
    assert_string_equal(path, "b[1].d");
    sl_yaml_path(b->last, "missing", path);
    assert_string_equal(path, "b[1].missing");
    assert_int_equal(sl_yaml_find(r.root, SL_SLICE("e"))->text.len, 0);
    assert_null(sl_yaml_find(r.root, SL_SLICE("f")));
    assert_null(sl_yaml_find(b, SL_SLICE("a")));
    sl_arena_fini(&r.arena);
}

static void json_is_read_too(void **state)
{
    struct reading r;
    (void)state;

    read_text(&r, SL_SLICE("{\"a\": [1, true, null, \"\\u00e4\"],\n \"b\": {}}"));
    check(r.rc == SL_OK, "%s", r.err.message);
    const struct sl_yaml_node *a = sl_yaml_find(r.root, SL_SLICE("a"));
    assert_int_equal(a->children_n, 4);
    assert_string_equal(a->last->text.ptr, "\xc3\xa4");
    sl_arena_fini(&r.arena);
}

/* An initialiser with its length: some rows hold a NUL. */
#define TEXT(literal) {(literal), sizeof(literal) - 1}

static void what_can_be_read_in_two_ways_is_refused(void **state)
{
    static const struct {
        struct sl_slice text;
        const char *message;
    } rows[] = {
        {TEXT("a: &x 1\n"), "f.yaml:1:4: a: anchors (&x) are not supported; write the options out"},
        {TEXT("&x a: 1\n"),
         "f.yaml:1:1: yaml: anchors (&x) are not supported; write the options out"},
        {TEXT("a: {b: &x [1]}\n"),
         "f.yaml:1:8: a.b: anchors (&x) are not supported; write the options out"},
        {TEXT("a: *x\n"), "f.yaml:1:4: a: aliases (*x) are not supported; write the options out"},
        {TEXT("a: !!int 1\n"),
         "f.yaml:1:4: a: tags (!!int) are not supported; write the value alone"},
        {TEXT("a: !x [1]\n"), "f.yaml:1:4: a: tags (!x) are not supported; write the value alone"},
        {TEXT("a: ! 1\n"), "f.yaml:1:4: a: tags (!) are not supported; write the value alone"},
        {TEXT("a: { <<: { b: 1 } }\n"),
         "f.yaml:1:6: a.<<: merge keys are not supported; write the options out"},
        {TEXT("a: 1\nb: 2\na: 3\n"),
         "f.yaml:3:1: a: duplicate key, first at line 1; remove one of them"},
        {TEXT("a: { b: 1, \"b\": 2 }\n"),
         "f.yaml:1:12: a.b: duplicate key, first at line 1; remove one of them"},
        {TEXT("a: 1\n---\nb: 2\n"),
         "f.yaml:2:1: yaml: expected one document, found a second; remove the \"---\""},
        {TEXT("? [a]\n: 1\n"), "f.yaml:1:3: yaml: expected a plain name as key, found a list"},
        {TEXT("a: { {b: 1}: 1 }\n"), "f.yaml:1:6: a: expected a plain name as key, found a map"},
        {TEXT("\"\": 1\n"), "f.yaml:1:1: yaml: expected the name of a key, found nothing"},
        {TEXT("a: \"x\\0y\"\n"),
         "f.yaml:1:4: a: control characters and line breaks are not allowed in a value"},
        {TEXT("a: |\n  x\n  y\n"),
         "f.yaml:1:4: a: control characters and line breaks are not allowed in a value"},
        {TEXT("\"a\\nb\": 1\n"),
         "f.yaml:1:1: yaml: control characters and line breaks are not allowed in a value"},
        {TEXT("a: 1\nb: \xff\n"),
         "f.yaml:2:4: yaml: expected UTF-8 text: invalid leading UTF-8 octet"},
        {TEXT("a: \0\n"),
         "f.yaml:1:4: yaml: expected UTF-8 text: control characters are not allowed"},
        {TEXT("a:\n\tb: 1\n"), "f.yaml:2:1: yaml: broken YAML: found a tab; indent with spaces"},
        {TEXT("a: [1\n"),
         "f.yaml:2:1: a: broken YAML: did not find expected ',' or ']', "
         "while parsing a flow sequence"},
        {TEXT("a: 1\n b: 2\n"),
         "f.yaml:2:3: yaml: broken YAML: mapping values are not allowed in this context"},
    };
    char line[512];
    (void)state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct reading r;

        read_text(&r, rows[i].text);
        check(r.rc == SL_ECONFIG, "row %zu: %d", i, r.rc);
        check(r.root == NULL, "row %zu: refused, yet gave a tree", i);
        sl_error_format(&r.err, line, sizeof(line));
        check(strcmp(line, rows[i].message) == 0, "row %zu: \"%s\", expected \"%s\"", i, line,
              rows[i].message);
        sl_arena_fini(&r.arena);
    }
}

static void the_root_may_be_of_any_kind_or_missing(void **state)
{
    static const struct {
        struct sl_slice text;
        const char *found; /* NULL: no root */
    } rows[] = {
        {TEXT(""), NULL},       {TEXT("# only this\n"), NULL},  {TEXT("---\n"), "nothing"},
        {TEXT("x\n"), "\"x\""}, {TEXT("[a]\n"), "a list of 1"}, {TEXT("{}\n"), "an empty map"},
    };
    char found[SL_YAML_FOUND_BYTES];
    (void)state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct reading r;

        read_text(&r, rows[i].text);
        check(r.rc == SL_OK, "row %zu: %s", i, r.err.message);
        check((r.root != NULL) == (rows[i].found != NULL), "row %zu: root %p", i,
              (const void *)r.root);
        if (r.root != NULL) {
            assert_string_equal(sl_yaml_found(r.root, found), rows[i].found);
        }
        sl_arena_fini(&r.arena);
    }
}

static void a_text_says_whether_it_was_plain(void **state)
{
    struct reading r;
    (void)state;

    read_text(&r, SL_SLICE("[null, 'null', \"null\", >-\n  null\n]"));
    check(r.rc == SL_ECONFIG, "a block inside of brackets: %d", r.rc);
    sl_arena_fini(&r.arena);
    read_text(&r, SL_SLICE("- null\n- 'null'\n- \"null\"\n- >-\n  null\n"));
    check(r.rc == SL_OK, "%s", r.err.message);
    assert_int_equal(r.root->children_n, 4);
    for (const struct sl_yaml_node *n = r.root->first; n != NULL; n = n->next) {
        assert_string_equal(n->text.ptr, "null");
        check(n->is_plain == (n->idx == 0), "item %u", n->idx);
    }
    sl_arena_fini(&r.arena);
}

static void lines_stand_in_values_where_they_are_allowed_and_never_in_keys(void **state)
{
    static const struct {
        struct sl_slice text;
        const char *message; /* NULL: read */
    } rows[] = {
        {TEXT("a: |\n  x\n  y\n"), NULL},
        {TEXT("a: \"x\\r\\n\\ty\"\n"), NULL},
        {TEXT("[\"x\\ny\"]\n"), NULL},
        {TEXT("a: \"x\\0y\"\n"), "f:1:4: a: control characters are not allowed in a value"},
        {TEXT("a: \"x\\ey\"\n"), "f:1:4: a: control characters are not allowed in a value"},
        {TEXT("a: \"x\\x7f\"\n"), "f:1:4: a: control characters are not allowed in a value"},
        {TEXT("\"a\\nb\": 1\n"),
         "f:1:1: control characters and line breaks are not allowed in a value"},
        {TEXT("["),
         "f:2:1: no YAML: did not find expected node content, while parsing a flow node"},
        {TEXT("a: *x\n"), "f:1:4: a: aliases (*x) are not supported; write the options out"},
    };
    char line[512];
    (void)state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct sl_yaml_input in = {
            .text = rows[i].text,
            .file = "f",
            .root_name = "",
            .refusal = "no YAML",
            .has_lines = true,
        };
        struct reading r;

        read_input(&r, &in);
        if (rows[i].message == NULL) {
            check(r.rc == SL_OK && r.root->first->text.len > 2, "row %zu: %s", i, r.err.message);
        } else {
            check(r.rc == SL_ECONFIG, "row %zu: %d", i, r.rc);
            sl_error_format(&r.err, line, sizeof(line));
            check(strcmp(line, rows[i].message) == 0, "row %zu: \"%s\"", i, line);
        }
        sl_arena_fini(&r.arena);
    }
}

static int allocs_left_n;

static bool while_some_left(size_t size_bytes)
{
    (void)size_bytes;
    return allocs_left_n-- > 0;
}

static void reading_survives_each_failed_allocation(void **state)
{
    struct reading r = {.rc = SL_ENOMEM};
    int allowed_n = 0;
    (void)state;

    for (; r.rc != SL_OK && allowed_n < 1000; allowed_n++) {
        allocs_left_n = allowed_n;
        sl_alloc_hook = while_some_left;
        read_text(&r, SL_SLICE("a: [1, {b: c}]\nd: 'e'\n"));
        sl_alloc_hook = NULL;
        check(r.rc == SL_OK || (r.rc == SL_ENOMEM && r.root == NULL), "%d allowed: %d", allowed_n,
              r.rc);
        sl_arena_fini(&r.arena);
    }
    check(r.rc == SL_OK && allowed_n > 1, "%d after %d rounds", r.rc, allowed_n);
}

/* prefix, unit n times, suffix. Freed by the caller. */
static struct sl_slice repeat(const char *prefix, const char *unit, size_t n, const char *suffix)
{
    size_t size_bytes = strlen(prefix) + n * strlen(unit) + strlen(suffix) + 1;
    char *text = sl_alloc(size_bytes);
    size_t used = strlen(prefix);

    assert_non_null(text);
    memcpy(text, prefix, used);
    for (size_t i = 0; i < n; i++) {
        memcpy(text + used, unit, strlen(unit));
        used += strlen(unit);
    }
    memcpy(text + used, suffix, strlen(suffix) + 1);
    return (struct sl_slice){text, size_bytes - 1};
}

static void check_limit(struct sl_slice text, const char *message_has)
{
    struct reading r;

    read_text(&r, text);
    if (message_has == NULL) {
        check(r.rc == SL_OK, "%s", r.err.message);
    } else {
        check(r.rc == SL_ECONFIG, "%d, expected to be refused: %s", r.rc, message_has);
        check(strstr(r.err.message, message_has) != NULL, "\"%s\" lacks \"%s\"", r.err.message,
              message_has);
    }
    sl_arena_fini(&r.arena);
    sl_free((void *)(uintptr_t)text.ptr);
}

static void limits_hold_exactly(void **state)
{
    (void)state;

    check_limit(repeat("a: ", "[", SL_YAML_MAX_DEPTH - 1, "]]]]]]]]]]]]]]]"), NULL);
    check_limit(repeat("a: ", "[", SL_YAML_MAX_DEPTH, ""), "at most 16 levels");
    check_limit(repeat("a: [", "1,", SL_YAML_MAX_ITEMS_N, "]"), NULL);
    check_limit(repeat("a: [", "1,", SL_YAML_MAX_ITEMS_N + 1, "]"), "at most 4096 items");
    check_limit(repeat("a: 1\n#", "x", SL_YAML_MAX_BYTES - 6, ""), NULL);
    check_limit(repeat("a: 1\n#", "x", SL_YAML_MAX_BYTES - 5, ""), "at most 4 MiB");
    /* 26 lists of 4096: more than all. */
    check_limit(repeat("a: [", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],", 4000, "]"),
                "at most 100000 values");
}

static void a_map_takes_so_many_keys_and_no_more(void **state)
{
    (void)state;

    for (size_t n = SL_YAML_MAX_KEYS_N; n <= SL_YAML_MAX_KEYS_N + 1; n++) {
        char *text = sl_alloc(n * 16);
        size_t used = 0;

        assert_non_null(text);
        for (size_t i = 0; i < n; i++) {
            used += (size_t)snprintf(text + used, 16, "k%zu: 1\n", i);
        }
        check_limit((struct sl_slice){text, used},
                    n > SL_YAML_MAX_KEYS_N ? "at most 1024 keys" : NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_are_text_and_know_where_they_stand),
        cmocka_unit_test(json_is_read_too),
        cmocka_unit_test(what_can_be_read_in_two_ways_is_refused),
        cmocka_unit_test(the_root_may_be_of_any_kind_or_missing),
        cmocka_unit_test(a_text_says_whether_it_was_plain),
        cmocka_unit_test(lines_stand_in_values_where_they_are_allowed_and_never_in_keys),
        cmocka_unit_test(reading_survives_each_failed_allocation),
        cmocka_unit_test(limits_hold_exactly),
        cmocka_unit_test(a_map_takes_so_many_keys_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
