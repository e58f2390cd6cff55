/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/version.h>

#include "fake_control.h"

#include "proxy/admin/metrics_text.h"
#include "proxy/base/alloc.h"
#include "proxy/base/text.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES (2 << 20)

static struct fake_control fake;
static struct sl_text text;

static int setup(void **state)
{
    (void)state;
    fake_control_init(&fake);
    sl_text_init(&text, PAGE_BYTES);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sl_alloc_hook = NULL;
    sl_text_fini(&text);
    fake_control_fini(&fake);
    return 0;
}

static void scrape(void)
{
    sl_text_fini(&text);
    sl_text_init(&text, PAGE_BYTES);
    sl_metrics_write(&fake.control, &text);
    assert_false(text.failed);
}

/* ---- A reader of the format, as strict as the format is. */

static bool is_name_byte(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (!first && c >= '0' && c <= '9');
}

/* Behind a name at p, or NULL. */
static const char *skip_name(const char *p)
{
    if (!is_name_byte(*p, true)) {
        return NULL;
    }
    while (is_name_byte(*p, false)) {
        p++;
    }
    return p;
}

/* Behind a quoted value at p, or NULL: the only escapes are \\, \" and \n. */
static const char *skip_value(const char *p)
{
    if (*p++ != '"') {
        return NULL;
    }
    for (; *p != '"'; p++) {
        if (*p == '\0' || *p == '\n') {
            return NULL;
        }
        if (*p == '\\') {
            p++;
            if (*p != '\\' && *p != '"' && *p != 'n') {
                return NULL;
            }
        }
    }
    return p + 1;
}

static const char *skip_labels(const char *p)
{
    if (*p != '{') {
        return p;
    }
    do {
        p = skip_name(p + 1);
        if (p == NULL || *p != '=') {
            return NULL;
        }
        p = skip_value(p + 1);
    } while (p != NULL && *p == ',');
    return p != NULL && *p == '}' ? p + 1 : NULL;
}

static bool is_number(const char *p)
{
    size_t whole = strspn(p, "0123456789");

    p += whole;
    if (*p == '.') {
        size_t part = strspn(p + 1, "0123456789");
        p += part + 1;
        return whole > 0 && part > 0 && *p == '\0';
    }
    return whole > 0 && *p == '\0';
}

/* What a family was announced as; lines that follow belong to it. */
struct family {
    char name[128];
    char type[16];
};

static void check_sample(const struct family *f, const char *line)
{
    const char *end = skip_name(line);
    size_t family_len = strlen(f->name);

    check(end != NULL && strncmp(line, f->name, family_len) == 0, "stray sample: %s", line);
    size_t suffix_len = (size_t)(end - line) - family_len;
    const char *suffix = line + family_len;
    bool is_part = (suffix_len == 7 && strncmp(suffix, "_bucket", 7) == 0) ||
                   (suffix_len == 4 && strncmp(suffix, "_sum", 4) == 0) ||
                   (suffix_len == 6 && strncmp(suffix, "_count", 6) == 0);
    check(is_part == (strcmp(f->type, "histogram") == 0) && (is_part || suffix_len == 0),
          "%s is no sample of a %s", line, f->type);
    const char *value = skip_labels(end);
    check(value != NULL && *value == ' ' && is_number(value + 1), "malformed: %s", line);
}

static void check_family(struct family *f, const char *line, bool is_help)
{
    struct family now = {"", ""};
    const char *name = line + 7;
    const char *end = skip_name(name);

    check(end != NULL && *end == ' ' && end[1] != '\0', "malformed: %s", line);
    (void)snprintf(now.name, sizeof(now.name), "%.*s", (int)(end - name), name);
    if (is_help) {
        *f = now;
        return;
    }
    assert_string_equal(now.name, f->name); /* TYPE follows its HELP */
    (void)snprintf(f->type, sizeof(f->type), "%s", end + 1);
    check(strcmp(f->type, "counter") == 0 || strcmp(f->type, "gauge") == 0 ||
              strcmp(f->type, "histogram") == 0,
          "unknown type: %s", line);
    size_t len = strlen(f->name);
    bool has_total = len > 6 && strcmp(f->name + len - 6, "_total") == 0;
    check(has_total == (strcmp(f->type, "counter") == 0), "%s is a %s", f->name, f->type);
}

/* Up to the value: two lines may not have the same. */
static bool same_series(const char *a, const char *b)
{
    size_t len = (size_t)(strrchr(a, ' ') - a);
    return strncmp(a, b, len + 1) == 0;
}

static void check_exposition(char *page)
{
    static char *lines[32768];
    size_t lines_n = 0;
    struct family f = {"", ""};

    for (char *line = page; *line != '\0';) {
        char *end = strchr(line, '\n');
        check(end != NULL, "the last line has no end: %s", line);
        *end = '\0';
        if (strncmp(line, "# HELP ", 7) == 0) {
            check_family(&f, line, true);
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            check_family(&f, line, false);
        } else {
            check_sample(&f, line);
            for (size_t i = lines_n; i > 0 && lines_n < 1000; i--) {
                check(!same_series(line, lines[i - 1]), "twice: %s", line);
            }
            assert_true(lines_n < SL_ARRAY_LEN(lines));
            lines[lines_n++] = line;
        }
        line = end + 1;
    }
    check(lines_n > 0, "no sample");
}

/* ---- */

static void the_text_is_what_it_was(void **state)
{
    static const char path[] = "tests/unit/proxy/admin/metrics_text.golden";
    static char golden[PAGE_BYTES];
    (void)state;

    scrape();
    const char *version = strstr(text.ptr, "version=\"" SL_VERSION "\"");
    assert_non_null(version);
    if (getenv("SL_REGENERATE") != NULL) {
        FILE *out = fopen(path, "wb");

        assert_non_null(out);
        assert_int_equal(fwrite(text.ptr, 1, text.len, out), text.len);
        assert_int_equal(fclose(out), 0);
    }
    FILE *in = fopen(path, "rb");
    check(in != NULL, "%s: run from the top of the tree", path);
    size_t len = fread(golden, 1, sizeof(golden), in);
    (void)fclose(in);
    size_t same = 0;
    while (same < len && same < text.len && golden[same] == text.ptr[same]) {
        same++;
    }
    check(len == text.len && same == len, "differs from %s at byte %zu: %.160s", path, same,
          text.ptr + same);
}

static void the_text_follows_the_format(void **state)
{
    (void)state;

    scrape();
    check_exposition(text.ptr);
}

static void some_samples_say_what_was_counted(void **state)
{
    static const char *const lines[] = {
        "\nsluiced_generation 7\n",
        "\nsluiced_start_time_seconds 1763999000.5\n",
        "\nsluiced_last_reload_ok 1\n",
        "\nsluiced_connections_handed_off_total 4\n",
        "\nsluiced_listener_connections{listener=\"edge\"} 3\n",
        "\nsluiced_listener_refused_total{listener=\"edge\",reason=\"no_route\"} 6\n",
        "\nsluiced_requests_total{listener=\"edge\",route=\"chat\",pool=\"v1\",",
        "pool=\"v1\",code=\"2xx\",reason=\"ok\"} 95\n",
        "code=\"none\",reason=\"client_gone\"} 1\n",
        "pool=\"v1\",le=\"0.0005\"} 0\n",
        "pool=\"v1\",le=\"0.001\"} 1\n",
        "pool=\"v1\",le=\"32.768\"} 2\n",
        "pool=\"v1\",le=\"+Inf\"} 3\n",
        "duration_seconds_sum{listener=\"edge\",route=\"chat\",pool=\"v1\"} 61.5007\n",
        "duration_seconds_count{listener=\"edge\",route=\"chat\",pool=\"v1\"} 3\n",
        "split_weight{listener=\"edge\",route=\"chat\",pool=\"v2\"} 1\n",
        "split_decisions{listener=\"edge\",route=\"rest\",pool=\"v1\"} 15\n",
        "pool_endpoints{pool=\"v1\",state=\"ready\"} 2\n",
        "pool_endpoints{pool=\"v1\",state=\"draining\"} 1\n",
        "pool_endpoints{pool=\"v1\",state=\"unhealthy\"} 1\n",
        "pool_endpoints{pool=\"v1\",state=\"ejected\"} 1\n",
        "discovery_age_seconds{pool=\"v1\"} 1.5\n",
        "discovery_event_age_seconds{pool=\"v1\"} 60\n",
        "discovery_bookmark_age_seconds{pool=\"v1\"} 1.5\n",
        "discovery_state{pool=\"v1\",state=\"watching\"} 1\n",
        "discovery_state{pool=\"v1\",state=\"listing\"} 0\n",
        "discovery_state{pool=\"v2\",state=\"watching\"} 0\n",
        "discovery_state{pool=\"v2\",state=\"listing\"} 1\n",
        "discovery_relists_total{pool=\"v1\",cause=\"drift\"} 2\n",
        "discovery_comparisons_total{pool=\"v1\"} 12\n",
        "discovery_drift_total{pool=\"v1\"} 4\n",
        "discovery_watches{pool=\"v1\"} 2\n",
        "endpoint_requests_total{pool=\"v1\",endpoint=\"10.0.0.2:8000\"} 55\n",
        "endpoint_healthy{pool=\"v1\",endpoint=\"10.0.0.2:8000\"} 1\n",
        "endpoint_healthy{pool=\"v1\",endpoint=\"[fd00::1]:8000\"} 0\n",
        "endpoint_ejected{pool=\"v1\",endpoint=\"unix:/run/m\\\"\\\\.sock\"} 1\n",
    };
    (void)state;

    scrape();
    for (size_t i = 0; i < SL_ARRAY_LEN(lines); i++) {
        check(strstr(text.ptr, lines[i]) != NULL, "not there: %s", lines[i]);
    }
    assert_null(strstr(text.ptr, "discovery_age_seconds{pool=\"v2\"}")); /* never fresh */
    assert_null(strstr(text.ptr, "event_age_seconds{pool=\"v2\"}"));     /* never told */
    assert_null(strstr(text.ptr, "first_byte_seconds_bucket"));          /* never observed */
}

static void a_refused_reload_and_a_process_that_is_not_ready_show(void **state)
{
    (void)state;

    fake.process.ready = false;
    fake.process.draining = true;
    fake.process.reload_error = "a.yaml:1:1: no";
    scrape();
    assert_non_null(strstr(text.ptr, "\nsluiced_ready 0\n"));
    assert_non_null(strstr(text.ptr, "\nsluiced_draining 1\n"));
    assert_non_null(strstr(text.ptr, "\nsluiced_last_reload_ok 0\n"));
}

/* As many samples as there are states, whatever they are; a row that someone forgot to name in the
 * table of names would be no text at all. */
static void discovery_is_in_exactly_one_state(void **state)
{
    static const char name[] = "\nsluiced_discovery_state{pool=\"v1\",";
    (void)state;

    for (int in = 0; in < SL_SOURCE_STATES_N; in++) {
        char one[128];
        int samples_n = 0;
        int ones_n = 0;

        fake.pools[0].discovery.state = (enum sl_source_state)in;
        scrape();
        for (const char *p = text.ptr; (p = strstr(p, name)) != NULL; samples_n++) {
            p += strlen(name);
            ones_n += strncmp(strchr(p, ' '), " 1\n", 3) == 0;
        }
        (void)snprintf(one, sizeof(one), "%sstate=\"%s\"} 1\n", name,
                       sl_source_state_name((enum sl_source_state)in));
        check(samples_n == SL_SOURCE_STATES_N && ones_n == 1 && strstr(text.ptr, one) != NULL,
              "state %d: %d samples, %d of them 1", in, samples_n, ones_n);
    }
}

static void endpoints_beyond_the_limit_are_summed_up(void **state)
{
    (void)state;

    /* Four addresses in the first pool; four of these are too many, and one more. */
    fake.many_n = SL_METRICS_ENDPOINTS_MAX_N + 1;
    scrape();
    assert_non_null(strstr(
        text.ptr, "sluiced_endpoint_requests_total{pool=\"_other\",endpoint=\"_other\"} 5\n"));
    assert_non_null(
        strstr(text.ptr, "sluiced_endpoint_healthy{pool=\"_other\",endpoint=\"_other\"} 5\n"));
    assert_non_null(strstr(text.ptr, "pool_endpoints{pool=\"v2\",state=\"ready\"} 2001\n"));
    check_exposition(text.ptr);
    fake.many_n = SL_METRICS_ENDPOINTS_MAX_N - 4;
    scrape();
    assert_null(strstr(text.ptr, "\"_other\""));
}

static size_t allocations_left;

static bool allow_some(size_t size_bytes)
{
    (void)size_bytes;
    return allocations_left > 0 && allocations_left-- > 0;
}

static void without_memory_the_text_says_so(void **state)
{
    bool failed = true;
    size_t n = 0;
    (void)state;

    for (; failed && n < 100; n++) {
        sl_text_fini(&text);
        sl_text_init(&text, PAGE_BYTES);
        allocations_left = n;
        sl_alloc_hook = allow_some;
        sl_metrics_write(&fake.control, &text);
        sl_alloc_hook = NULL;
        failed = text.failed;
    }
    check(!failed && n > 3, "succeeded with %zu allocations", n);
}

static void the_reference_says_what_the_tables_say(void **state)
{
    static const char path[] = "docs/metrics.md";
    static char page[PAGE_BYTES];
    (void)state;

    sl_metrics_write_docs(&text);
    assert_false(text.failed);
    if (getenv("SL_REGENERATE") != NULL) {
        FILE *out = fopen(path, "wb");

        assert_non_null(out);
        assert_int_equal(fwrite(text.ptr, 1, text.len, out), text.len);
        assert_int_equal(fclose(out), 0);
    }
    FILE *in = fopen(path, "rb");
    check(in != NULL, "%s: run once with SL_REGENERATE=1, from the top of the tree", path);
    size_t len = fread(page, 1, sizeof(page), in);
    (void)fclose(in);
    check(len == text.len && memcmp(page, text.ptr, len) == 0,
          "%s is not what the tables say: run once with SL_REGENERATE=1", path);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_text_is_what_it_was),
        TEST(the_text_follows_the_format),
        TEST(some_samples_say_what_was_counted),
        TEST(a_refused_reload_and_a_process_that_is_not_ready_show),
        TEST(discovery_is_in_exactly_one_state),
        TEST(endpoints_beyond_the_limit_are_summed_up),
        TEST(without_memory_the_text_says_so),
        TEST(the_reference_says_what_the_tables_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
