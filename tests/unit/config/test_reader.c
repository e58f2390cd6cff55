/* SPDX-License-Identifier: Apache-2.0 */
#include "config/reader.h"
#include "proxy/base/alloc.h"
#include "proxy/base/arena.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

struct reading {
    struct sl_arena arena;
    const struct sl_node *root;
    struct sl_error err;
    int rc;
};

static void read_text(struct reading *r, struct sl_slice text)
{
    memset(r, 0, sizeof(*r));
    sl_arena_init(&r->arena, 4096, 0, NULL, 0);
    r->rc = sl_yaml_read(text, "f.yaml", &r->arena, &r->root, &r->err);
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
    char path[SL_NODE_PATH_BYTES];
    struct reading r;
    (void)state;

    read_text(&r, SL_SLICE(text));
    check(r.rc == SL_OK, "%s", r.err.message);
    const struct sl_node *a = sl_node_find(r.root, SL_SLICE("a"));
    assert_string_equal(a->text.ptr, "no");
    const struct sl_node *b = sl_node_find(r.root, SL_SLICE("b"));
    assert_int_equal(b->kind, SL_NODE_LIST);
    assert_int_equal(b->children_n, 2);
    assert_string_equal(b->first->text.ptr, "1.10");
    const struct sl_node *d = sl_node_find(b->last, SL_SLICE("d"));
    assert_string_equal(d->text.ptr, "it's");
    assert_int_equal(d->line, 4);
    assert_int_equal(d->key_column, 17);
    assert_int_equal(d->column, 20);
    sl_node_path(d, NULL, path);
    assert_string_equal(path, "b[1].d");
    sl_node_path(b->last, "missing", path);
    assert_string_equal(path, "b[1].missing");
    assert_int_equal(sl_node_find(r.root, SL_SLICE("e"))->text.len, 0);
    assert_null(sl_node_find(r.root, SL_SLICE("f")));
    assert_null(sl_node_find(b, SL_SLICE("a")));
    sl_arena_fini(&r.arena);
}

static void json_is_read_too(void **state)
{
    struct reading r;
    (void)state;

    read_text(&r, SL_SLICE("{\"a\": [1, true, null, \"\\u00e4\"],\n \"b\": {}}"));
    check(r.rc == SL_OK, "%s", r.err.message);
    const struct sl_node *a = sl_node_find(r.root, SL_SLICE("a"));
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
        {TEXT(""), "f.yaml:1:1: yaml: expected a map of options, found an empty file"},
        {TEXT("# only this\n"), "f.yaml:1:1: yaml: expected a map of options, found an empty file"},
        {TEXT("---\n"), "f.yaml:2:1: yaml: expected a map of options, found nothing"},
        {TEXT("x\n"), "f.yaml:1:1: yaml: expected a map of options, found \"x\""},
        {TEXT("[a]\n"), "f.yaml:1:1: yaml: expected a map of options, found a list of 1"},
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
        cmocka_unit_test(limits_hold_exactly),
        cmocka_unit_test(a_map_takes_so_many_keys_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
