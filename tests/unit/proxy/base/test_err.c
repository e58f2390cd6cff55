/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "tests/unit/check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void errno_becomes_what_a_caller_can_act_on(void **state)
{
    static const struct {
        int errnum;
        int code;
    } rows[] = {
        {EAGAIN, SL_AGAIN},
        {EWOULDBLOCK, SL_AGAIN},
        {ECONNREFUSED, SL_EREFUSED},
        {EHOSTUNREACH, SL_EREFUSED},
        {ENETUNREACH, SL_EREFUSED},
        {EADDRNOTAVAIL, SL_EREFUSED},
        {ENOENT, SL_EREFUSED},
        {ECONNRESET, SL_ERESET},
        {EPIPE, SL_ERESET},
        {ECONNABORTED, SL_ERESET},
        {ENOTCONN, SL_ERESET},
        {ETIMEDOUT, SL_ETIMEOUT},
        {ENOMEM, SL_ENOMEM},
        {ENOBUFS, SL_ENOMEM},
        {EMFILE, SL_ELIMIT},
        {ENFILE, SL_ELIMIT},
        {EBADF, SL_EIO},
        {EINVAL, SL_EIO},
        {0, SL_EIO},
        {-1, SL_EIO},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        int code = sl_err_from_errno(rows[i].errnum);

        check(code == rows[i].code, "errno %d: %s, expected %s", rows[i].errnum, sl_err_name(code),
              sl_err_name(rows[i].code));
    }
}

static void each_code_has_one_lower_case_word_of_its_own(void **state)
{
    (void)state;

    for (int code = SL_OK; code >= SL_EIO; code--) {
        const char *name = sl_err_name(code);

        check(name[0] != '\0' && strspn(name, "abcdefghijklmnopqrstuvwxyz") == strlen(name),
              "%d: \"%s\"", code, name);
        for (int other = code - 1; other >= SL_EIO - 1; other--) {
            check(strcmp(name, sl_err_name(other)) != 0, "%d and %d: \"%s\"", code, other, name);
        }
    }
    assert_string_equal(sl_err_name(1), "unknown");
    assert_string_equal(sl_err_name(SL_EIO - 1), "unknown");
}

static void errno_in_words_fits_the_buffer_it_is_given(void **state)
{
    char buf[64];
    char small[5];
    (void)state;

    assert_ptr_equal(sl_errno_text(ECONNREFUSED, buf, sizeof(buf)), buf);
    assert_string_equal(buf, "Connection refused");
    assert_string_equal(sl_errno_text(123456, buf, sizeof(buf)), "Unknown error 123456");
    assert_string_equal(sl_errno_text(ECONNREFUSED, small, sizeof(small)), "Conn");
}

static void an_error_says_where_and_what(void **state)
{
    static const struct sl_pos key_at = {"sluiced.yaml", "pools.chat.balance", 7, 12};
    static const struct sl_pos no_key_at = {"sluiced.yaml", NULL, 3, 1};
    static const struct {
        const struct sl_pos *pos;
        const char *text;
    } rows[] = {
        {&key_at, "sluiced.yaml:7:12: pools.chat.balance: found \"x\""},
        {&no_key_at, "sluiced.yaml:3:1: found \"x\""},
        {NULL, "found \"x\""},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_error err;
        char text[256];
        int rc = sl_error_set(&err, SL_ECONFIG, rows[i].pos, "found \"%s\"", "x");

        check(rc == SL_ECONFIG && err.code == SL_ECONFIG, "row %zu: %d, %d", i, rc, err.code);
        sl_error_format(&err, text, sizeof(text));
        check(strcmp(text, rows[i].text) == 0, "row %zu: \"%s\"", i, text);
    }
}

static void everything_too_long_is_cut_and_terminated(void **state)
{
    static char longer[1000];
    struct sl_pos at = {longer, longer, 1, 1};
    struct sl_error err;
    char text[16];
    (void)state;

    memset(longer, 'l', sizeof(longer) - 1);
    assert_int_equal(sl_error_set(&err, SL_ECONFIG, &at, "%s", longer), SL_ECONFIG);
    assert_int_equal(strlen(err.file), 255);
    assert_int_equal(strlen(err.key), 127);
    assert_int_equal(strlen(err.message), 255);
    for (size_t size = 1; size <= sizeof(text); size++) {
        memset(text, '#', sizeof(text));
        sl_error_format(&err, text, size);
        assert_int_equal(strlen(text), size - 1);
    }
}

static void an_error_can_be_told_in_terms_of_itself(void **state)
{
    struct sl_error err;
    (void)state;

    assert_int_equal(sl_error_set(&err, SL_EIO, NULL, "no such file"), SL_EIO);
    assert_int_equal(sl_error_set(&err, SL_ECONFIG, NULL, "cannot read ca: %s", err.message),
                     SL_ECONFIG);
    assert_string_equal(err.message, "cannot read ca: no such file");
}

static void a_broken_invariant_ends_the_process_and_says_which(void **state)
{
    char said[512];
    size_t said_n = 0;
    int fds[2];
    int status = 0;
    (void)state;

    SL_ASSERT(1 + 1 == 2, "never shown");
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)dup2(fds[1], STDERR_FILENO); /* the parent sees if it failed: it reads nothing */
        struct sigaction deflt = {.sa_handler = SIG_DFL};
        (void)sigaction(SIGABRT, &deflt, NULL); /* cmocka's handler would report a crashed test */
        SL_ASSERT(said_n == 42, "said_n is %d", (int)said_n);
        _exit(0);
    }
    (void)close(fds[1]);
    for (ssize_t n; said_n < sizeof(said) - 1 &&
                    (n = read(fds[0], said + said_n, sizeof(said) - 1 - said_n)) > 0;)
    {
        said_n += (size_t)n;
    }
    said[said_n] = '\0';
    (void)close(fds[0]);
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "ended with %d", status);
    check(strstr(said, "test_err.c:") != NULL, "\"%s\"", said);
    check(strstr(said, "assertion failed: said_n == 42: said_n is 0\n") != NULL, "\"%s\"", said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errno_becomes_what_a_caller_can_act_on),
        cmocka_unit_test(each_code_has_one_lower_case_word_of_its_own),
        cmocka_unit_test(errno_in_words_fits_the_buffer_it_is_given),
        cmocka_unit_test(an_error_says_where_and_what),
        cmocka_unit_test(everything_too_long_is_cut_and_terminated),
        cmocka_unit_test(an_error_can_be_told_in_terms_of_itself),
        cmocka_unit_test(a_broken_invariant_ends_the_process_and_says_which),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
