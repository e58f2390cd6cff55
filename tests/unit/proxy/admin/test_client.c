/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_control.h"

#include "proxy/admin/client.h"
#include "proxy/admin/server.h"
#include "proxy/base/buf.h"
#include "proxy/io/loop.h"
#include "proxy/io/socket.h"
#include "tests/unit/check.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The process that is asked, on a thread of its own: the client blocks. */
static struct fake_control fake;
static struct sl_loop *loop;
static struct sl_chunk_pool chunks;
static struct sl_admin *admin;
static struct sl_address bound;
static pthread_t thread;

static struct sl_text body;
static struct sl_error err;
static uint16_t status;

static void *run(void *arg)
{
    sl_loop_run(arg);
    return NULL;
}

static int setup(void **state)
{
    static const struct sl_address everywhere = {"0.0.0.0", 0, false};
    (void)state;

    fake_control_init(&fake);
    sl_chunk_pool_init(&chunks, (size_t)1024 * 1024, 4);
    sl_text_init(&body, (size_t)1024 * 1024);
    status = 0;
    err = (struct sl_error){0};
    if (sl_loop_new(&loop) != SL_OK) {
        return -1;
    }
    const struct sl_admin_conf conf = {loop, &chunks, &fake.control, &everywhere, false};
    int rc = sl_admin_open(&conf, &admin, &bound, &err);
    check(rc == SL_OK, "%s", err.message);
    return pthread_create(&thread, NULL, run, loop);
}

static void on_stop(struct sl_mail *m)
{
    (void)m;
    sl_loop_stop(loop);
}

static int teardown(void **state)
{
    struct sl_mail stop = {.on_mail = on_stop};
    (void)state;

    sl_mailbox_post(loop, &stop);
    assert_int_equal(pthread_join(thread, NULL), 0);
    sl_admin_close(&admin);
    sl_loop_free(loop);
    sl_chunk_pool_fini(&chunks);
    sl_text_fini(&body);
    fake_control_fini(&fake);
    return 0;
}

static void ask(const char *method, const char *path)
{
    int rc = sl_admin_ask(&bound, method, path, &status, &body, &err);
    check(rc == SL_OK, "%s %s: %d %s", method, path, rc, err.message);
}

static void whoever_listens_everywhere_is_asked_here(void **state)
{
    (void)state;

    assert_string_equal(bound.host, "0.0.0.0");
    ask("GET", "/healthz");
    assert_int_equal(status, 200);
    assert_string_equal(body.ptr, "ok\n");
}

static void a_post_reaches_the_process(void **state)
{
    (void)state;

    ask("POST", "/drain");
    assert_int_equal(status, 200);
    assert_int_equal(fake.drains_n, 1);
}

static void a_refusal_is_an_answer_too(void **state)
{
    (void)state;

    fake.reload_code = SL_ECONFIG;
    fake.process.reload_error = "a.yaml:1:1: no";
    ask("POST", "/reload");
    assert_int_equal(status, 422);
    assert_string_equal(body.ptr, "{\"error\":\"a.yaml:1:1: no\"}\n");
}

static void an_answer_that_is_too_large_is_an_error(void **state)
{
    (void)state;

    sl_text_init(&body, 100);
    assert_int_equal(sl_admin_ask(&bound, "GET", "/status", &status, &body, &err), SL_ELIMIT);
    check(strstr(err.message, "too large") != NULL, "%s", err.message);
    assert_int_equal(status, 0);
}

static void nobody_there_is_an_error_that_names_the_address(void **state)
{
    static const struct sl_address here = {"127.0.0.1", 0, false};
    struct sl_address gone;
    char expected[64];
    int fd;
    (void)state;

    assert_int_equal(sl_socket_listen(&here, false, &fd, &gone, &err), SL_OK);
    (void)close(fd); /* now nobody listens at that port */
    int rc = sl_admin_ask(&gone, "GET", "/status", &status, &body, &err);
    check(rc == SL_EREFUSED, "%d %s", rc, err.message);
    (void)snprintf(expected, sizeof(expected), "GET http://127.0.0.1:%u/status: ", gone.port);
    check(strncmp(err.message, expected, strlen(expected)) == 0, "%s", err.message);
}

/* A broadcast address of the loopback: no stream can be made to it. */
static void no_way_there_is_not_nobody_there(void **state)
{
    static const struct sl_address nowhere = {"127.255.255.255", 1, false};
    (void)state;

    int rc = sl_admin_ask(&nowhere, "GET", "/status", &status, &body, &err);
    check(rc == SL_EIO, "%d %s", rc, err.message);
}

static void an_address_that_cannot_be_asked_says_what_to_do(void **state)
{
    static const struct {
        struct sl_address address;
        const char *text;
    } rows[] = {
        {{"/run/sluiced.sock", 0, true},
         "curl --unix-socket /run/sluiced.sock http://localhost/status"},
        {{"127.0.0.1", 0, false}, "ask it with --admin ADDRESS:PORT, or set a port other than 0"},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        int rc = sl_admin_ask(&rows[i].address, "GET", "/status", &status, &body, &err);
        check(rc == SL_ECONFIG && strstr(err.message, rows[i].text) != NULL, "%d %s", rc,
              err.message);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(whoever_listens_everywhere_is_asked_here),
        TEST(a_post_reaches_the_process),
        TEST(a_refusal_is_an_answer_too),
        TEST(an_answer_that_is_too_large_is_an_error),
        TEST(nobody_there_is_an_error_that_names_the_address),
        TEST(no_way_there_is_not_nobody_there),
        TEST(an_address_that_cannot_be_asked_says_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
