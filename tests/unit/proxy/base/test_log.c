/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/defs.h>
#include <sluiced/log.h>
#include <sluiced/time.h>

#include "tests/unit/check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define OUTPUT_BYTES (1024 * 1024)
#define TS_BYTES 24

static char output[OUTPUT_BYTES];
static int saved_fd = -1;
static int file_fd = -1;

/* From here to captured(), what goes to stderr goes to a file in memory. */
static void capture(void)
{
    file_fd = memfd_create("log", 0);
    saved_fd = dup(STDERR_FILENO);
    assert_true(file_fd >= 0 && saved_fd >= 0);
    assert_int_equal(fcntl(file_fd, F_SETFL, O_APPEND), 0); /* not every kernel locks the offset */
    assert_int_equal(dup2(file_fd, STDERR_FILENO), STDERR_FILENO);
}

static size_t captured(void)
{
    assert_int_equal(dup2(saved_fd, STDERR_FILENO), STDERR_FILENO);
    ssize_t n = pread(file_fd, output, sizeof(output) - 1, 0);
    assert_true(n >= 0 && n < OUTPUT_BYTES - 1);
    (void)close(saved_fd); /* nothing was written through these two that could be lost */
    (void)close(file_fd);
    saved_fd = -1;
    output[n] = '\0';
    return (size_t)n;
}

static int defaults(void **state)
{
    (void)state;
    if (saved_fd >= 0) { /* a failed test left it */
        (void)captured();
    }
    sl_log_configure(SL_LOG_INFO, SL_LOG_JSON);
    return 0;
}

static size_t lines_n(void)
{
    size_t n = 0;

    for (const char *p = output; (p = strchr(p, '\n')) != NULL; p++) {
        n++;
    }
    return n;
}

/* The one line in output without its time, which it checks. */
static const char *line_after_ts(const char *prefix)
{
    char *ts = output + strlen(prefix);
    size_t len = strlen(output);

    check(lines_n() == 1 && output[len - 1] == '\n', "not one line: \"%s\"", output);
    check(strncmp(output, prefix, strlen(prefix)) == 0, "\"%s\"", output);
    check(ts[4] == '-' && ts[10] == 'T' && ts[19] == '.' && ts[TS_BYTES - 1] == 'Z', "\"%s\"",
          output);
    output[len - 1] = '\0';
    return ts + TS_BYTES;
}

static void a_json_line_holds_every_kind_of_value(void **state)
{
    (void)state;

    capture();
    sl_log(SL_LOG_WARN, "reload_failed", {"file", SL_LOG_STR("/etc/sluiced.yaml")},
           {"part", SL_LOG_SLICE(((struct sl_slice){"abcdef", 3}))}, {"low", SL_LOG_INT(INT64_MIN)},
           {"minus", SL_LOG_INT(-1)}, {"plus", SL_LOG_INT(INT64_MAX)},
           {"most", SL_LOG_UINT(UINT64_MAX)}, {"yes", SL_LOG_BOOL(true)},
           {"no", SL_LOG_BOOL(false)}, {"none", SL_LOG_STR(NULL)}, {"empty", SL_LOG_STR("")});
    (void)captured();
    assert_string_equal(
        line_after_ts("{\"ts\":\""),
        "\",\"level\":\"warn\",\"event\":\"reload_failed\",\"file\":\"/etc/sluiced.yaml\","
        "\"part\":\"abc\",\"low\":-9223372036854775808,\"minus\":-1,\"plus\":9223372036854775807,"
        "\"most\":18446744073709551615,\"yes\":true,\"no\":false,\"none\":null,\"empty\":\"\"}");
}

static void a_logfmt_line_quotes_what_is_not_one_word(void **state)
{
    (void)state;

    sl_log_configure(SL_LOG_DEBUG, SL_LOG_LOGFMT);
    capture();
    sl_log(SL_LOG_DEBUG, "started", {"address", SL_LOG_STR("[::1]:80")},
           {"pod", SL_LOG_STR("llama-0.prod")}, {"text", SL_LOG_STR("two words")},
           {"eq", SL_LOG_STR("a=b")}, {"empty", SL_LOG_STR("")}, {"n", SL_LOG_INT(-5)},
           {"nul", SL_LOG_SLICE(((struct sl_slice){"a\0b", 3}))}, {"ok", SL_LOG_BOOL(true)});
    (void)captured();
    assert_string_equal(line_after_ts("ts="),
                        " level=debug event=started address=\"[::1]:80\" pod=llama-0.prod "
                        "text=\"two words\" eq=\"a=b\" empty=\"\" n=-5 nul=\"a\\u0000b\" ok=true");
}

static void nobody_can_forge_a_line_or_a_key(void **state)
{
    static const char *const attacks[] = {
        "x\n{\"ts\":\"2026-01-01T00:00:00.000Z\",\"level\":\"info\",\"event\":\"forged\"}",
        "x\",\"event\":\"forged\",\"y\":\"",
        "x\\",
        "x\\\",\"event\":\"forged",
        "x event=forged",
        "x\r\nevent=forged",
        "x\" event=forged y=\"",
        "x\xe2\x80\xa8"
        "event=forged",
        "x\xc2\x85"
        "event=forged",
        "x\x1b[2Kevent=forged",
        "x\xc3\" event=forged y=\"",
    };
    (void)state;

    for (int format = SL_LOG_JSON; format <= SL_LOG_LOGFMT; format++) {
        sl_log_configure(SL_LOG_INFO, (enum sl_log_format)format);
        for (size_t i = 0; i < SL_ARRAY_LEN(attacks); i++) {
            bool quoted = false;

            capture();
            sl_log(SL_LOG_ERROR, "real", {"v", SL_LOG_STR(attacks[i])}, {"last", SL_LOG_INT(1)});
            size_t n = captured();
            check(lines_n() == 1 && strlen(output) == n, "attack %zu: \"%s\"", i, output);
            /* Outside of quotes there is no trace of it. */
            char outside[512];
            size_t outside_n = 0;
            for (size_t k = 0; k < n && outside_n < sizeof(outside) - 1; k++) {
                if (output[k] == '\\') {
                    check(quoted, "attack %zu: an escape outside of quotes", i);
                    k++;
                } else if (output[k] == '"') {
                    quoted = !quoted;
                } else if (!quoted) {
                    outside[outside_n++] = output[k];
                }
                check((unsigned char)output[k] >= 0x20 || k == n - 1, "attack %zu: control", i);
            }
            outside[outside_n] = '\0';
            check(!quoted, "attack %zu: a quote stays open: \"%s\"", i, output);
            check(strstr(outside, "forged") == NULL, "attack %zu: \"%s\"", i, output);
            check(strstr(output, format == SL_LOG_JSON ? ",\"last\":1}\n" : " last=1\n") != NULL,
                  "attack %zu: the next key is gone: \"%s\"", i, output);
        }
    }
}

static void a_long_value_is_cut_marked_and_leaves_room_for_the_others(void **state)
{
    static char a_lot[10000];
    static const char fillers[] = {'x', '\n', '\x01', '\xff'};
    (void)state;

    for (size_t f = 0; f < SL_ARRAY_LEN(fillers); f++) {
        memset(a_lot, fillers[f], sizeof(a_lot) - 1);
        capture();
        sl_log(SL_LOG_ERROR, "cut", {"first", SL_LOG_STR(a_lot)}, {"second", SL_LOG_STR(a_lot)},
               {"error", SL_LOG_STR("refused")}, {"n", SL_LOG_UINT(7)});
        size_t n = captured();
        check(n <= 2048 && n > 1000, "a line of %zu bytes", n);
        check(lines_n() == 1 && output[n - 1] == '\n', "not one line");
        const char *first = strstr(output, "...\",\"second\":\"");
        check(first != NULL && strstr(first, "...\",\"error\":\"refused\",\"n\":7}\n") != NULL,
              "filler %zu: \"%s\"", f, output);
    }
}

static void a_line_may_be_full_to_its_last_byte(void **state)
{
    static char a_lot[3000];
    (void)state;

    memset(a_lot, 'x', sizeof(a_lot) - 1);
    for (int format = SL_LOG_JSON; format <= SL_LOG_LOGFMT; format++) {
        sl_log_configure(SL_LOG_INFO, (enum sl_log_format)format);
        capture();
        sl_log(SL_LOG_ERROR, "full", {"v", SL_LOG_STR(a_lot)});
        size_t n = captured();
        check(n == (format == SL_LOG_JSON ? 2048 : 2047), "%zu bytes", n);
        check(strcmp(output + n - 5, format == SL_LOG_JSON ? "..\"}\n" : "...\"\n") == 0, "\"%s\"",
              output + n - 5);
    }
}

static void more_fields_than_fit_leave_a_whole_line(void **state)
{
    struct sl_log_field fields[300];
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(fields); i++) {
        fields[i] =
            (struct sl_log_field){"a_key_of_some_length", SL_LOG_STR("a value of some length")};
    }
    for (int format = SL_LOG_JSON; format <= SL_LOG_LOGFMT; format++) {
        sl_log_configure(SL_LOG_INFO, (enum sl_log_format)format);
        capture();
        sl_log_fields(SL_LOG_ERROR, "many", fields, SL_ARRAY_LEN(fields));
        size_t n = captured();
        check(n <= 2048 && lines_n() == 1 && output[n - 1] == '\n', "%zu bytes", n);
        check(format != SL_LOG_JSON || output[n - 2] == '}', "no end: \"%s\"", output + n - 20);
        check(strstr(output, "many") != NULL, "the event is gone");
        const char *sign = format == SL_LOG_JSON ? "length\":" : "length=";
        size_t fields_n = 0;
        for (const char *p = output; (p = strstr(p, sign)) != NULL; fields_n++) {
            p += strlen(sign);
            check(*p == '"', "a key without its value: \"%s\"", p);
        }
        check(fields_n > 20, "only %zu fields", fields_n);
    }
}

static void levels_below_the_least_are_silent(void **state)
{
    static const enum sl_log_level levels[] = {
        SL_LOG_DEBUG,
        SL_LOG_INFO,
        SL_LOG_WARN,
        SL_LOG_ERROR,
    };
    (void)state;

    for (size_t least = 0; least < SL_ARRAY_LEN(levels); least++) {
        sl_log_configure(levels[least], SL_LOG_JSON);
        for (size_t i = 0; i < SL_ARRAY_LEN(levels); i++) {
            capture();
            sl_log(levels[i], "e", {"k", SL_LOG_INT(1)});
            size_t n = captured();
            check((n > 0) == (i >= least), "least %zu, level %zu: %zu bytes", least, i, n);
            check(sl_log_enabled(levels[i]) == (i >= least), "least %zu, level %zu", least, i);
        }
    }
}

static void errno_survives_a_log_call_also_when_nobody_takes_the_line(void **state)
{
    (void)state;

    capture();
    errno = ECONNRESET;
    sl_log(SL_LOG_ERROR, "e", {"k", SL_LOG_INT(1)});
    int with_stderr = errno;
    uint64_t dropped_before = sl_log_dropped_n();
    (void)close(STDERR_FILENO); /* captured() brings it back */
    errno = ECONNRESET;
    sl_log(SL_LOG_ERROR, "e", {"k", SL_LOG_INT(1)});
    int without_stderr = errno;
    uint64_t dropped = sl_log_dropped_n() - dropped_before;
    (void)captured();
    assert_int_equal(with_stderr, ECONNRESET);
    assert_int_equal(without_stderr, ECONNRESET);
    assert_int_equal(dropped, 1);
}

struct flood {
    enum sl_log_level level;
    int lines_n;
    uint64_t took_ms;
};

static void *flood(void *arg)
{
    struct flood *f = arg;
    uint64_t begin_ms = sl_time_now_ms();

    for (int i = 0; i < f->lines_n; i++) {
        sl_log(f->level, "flood", {"i", SL_LOG_INT(i)});
    }
    f->took_ms = sl_time_now_ms() - begin_ms;
    return NULL;
}

static void a_flood_of_warnings_is_limited_and_counted_errors_pass(void **state)
{
    struct flood warnings = {.level = SL_LOG_WARN, .lines_n = 3000};
    struct flood errors = {.level = SL_LOG_ERROR, .lines_n = 1000};
    uint64_t dropped_before = sl_log_dropped_n();
    pthread_t thread;
    (void)state;

    capture();
    assert_int_equal(pthread_create(&thread, NULL, flood, &warnings), 0); /* with its own limit */
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)captured();
    size_t n = lines_n();
    check(n >= 200 && n <= 200 * (warnings.took_ms / 1000 + 2), "%zu lines in %ju ms", n,
          (uintmax_t)warnings.took_ms);
    check(sl_log_dropped_n() - dropped_before == 3000 - n, "%zu written, %ju dropped", n,
          (uintmax_t)(sl_log_dropped_n() - dropped_before));

    capture();
    (void)flood(&errors); /* NULL, as a thread's function must give something */
    (void)captured();
    assert_int_equal(lines_n(), 1000);
}

static void lines_of_several_threads_never_mix(void **state)
{
    struct flood floods[4];
    pthread_t threads[4];
    (void)state;

    capture();
    for (size_t i = 0; i < 4; i++) {
        floods[i] = (struct flood){.level = SL_LOG_ERROR, .lines_n = 300};
        assert_int_equal(pthread_create(&threads[i], NULL, flood, &floods[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    (void)captured();
    assert_int_equal(lines_n(), 1200);
    for (char *line = output, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        check(strncmp(line, "{\"ts\":\"", 7) == 0 && end[-1] == '}' &&
                  strstr(line + 7, "\"ts\":") == NULL && strstr(line, "\"flood\",\"i\":") != NULL,
              "\"%s\"", line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_json_line_holds_every_kind_of_value, defaults),
        cmocka_unit_test_teardown(a_logfmt_line_quotes_what_is_not_one_word, defaults),
        cmocka_unit_test_teardown(nobody_can_forge_a_line_or_a_key, defaults),
        cmocka_unit_test_teardown(a_long_value_is_cut_marked_and_leaves_room_for_the_others,
                                  defaults),
        cmocka_unit_test_teardown(a_line_may_be_full_to_its_last_byte, defaults),
        cmocka_unit_test_teardown(more_fields_than_fit_leave_a_whole_line, defaults),
        cmocka_unit_test_teardown(levels_below_the_least_are_silent, defaults),
        cmocka_unit_test_teardown(errno_survives_a_log_call_also_when_nobody_takes_the_line,
                                  defaults),
        cmocka_unit_test_teardown(a_flood_of_warnings_is_limited_and_counted_errors_pass, defaults),
        cmocka_unit_test_teardown(lines_of_several_threads_never_mix, defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
