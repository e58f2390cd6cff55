/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "proxy/base/alloc.h"
#include "proxy/base/buf.h"
#include "proxy/base/rng.h"
#include "tests/unit/check.h"

#include <string.h>

#define DATA_BYTES (SL_CHUNK_BYTES - 16)
#define MODEL_BYTES (64 * 1024)

static size_t allocs_left;

static bool while_some_left(size_t size_bytes)
{
    (void)size_bytes;
    return allocs_left > 0 && allocs_left-- > 0;
}

static int without_hook(void **state)
{
    (void)state;
    sl_alloc_hook = NULL;
    return 0;
}

static uint32_t chain_n(const struct sl_queue *q)
{
    uint32_t n = 0;

    for (const struct sl_chunk *c = q->head; c != NULL; c = c->next) {
        n++;
    }
    return n;
}

static void the_pool_gives_up_to_its_limit_and_keeps_a_few(void **state)
{
    struct sl_chunk_pool p;
    struct sl_chunk *taken[4];
    (void)state;

    sl_chunk_pool_init(&p, 4 * SL_CHUNK_BYTES + 4095, 2);
    for (size_t i = 0; i < 4; i++) {
        taken[i] = sl_chunk_take(&p);
        assert_non_null(taken[i]);
        assert_int_equal(taken[i]->start | taken[i]->end, 0);
        taken[i]->end = 17; /* as a user would */
    }
    assert_null(sl_chunk_take(&p));
    for (size_t i = 0; i < 4; i++) {
        sl_chunk_give(&p, taken[i]);
    }
    assert_int_equal(p.used_n, 0);
    assert_int_equal(p.free_n, 2);
    struct sl_chunk *again = sl_chunk_take(&p);
    assert_non_null(again);
    assert_int_equal(p.free_n, 1);
    assert_int_equal(again->end, 0); /* empty, though it comes back used */
    sl_chunk_give(&p, again);
    sl_chunk_pool_fini(&p);
}

static void a_limit_of_any_size_is_understood(void **state)
{
    struct sl_chunk_pool p;
    (void)state;

    sl_chunk_pool_init(&p, SL_CHUNK_BYTES - 1, 0);
    assert_null(sl_chunk_take(&p));
    sl_chunk_pool_init(&p, SIZE_MAX, 0);
    assert_int_equal(p.limit_n, UINT32_MAX);
}

static void an_empty_queue_holds_no_chunk(void **state)
{
    struct sl_chunk_pool p;
    struct sl_queue q = {0};
    struct iovec iov[2];
    char out[8];
    (void)state;

    sl_chunk_pool_init(&p, 8 * SL_CHUNK_BYTES, 0);
    assert_int_equal(sl_queue_append(&q, &p, NULL, 0), SL_OK);
    assert_int_equal(p.used_n, 0);
    assert_int_equal(sl_queue_peek(&q, iov, 2), 0);
    assert_int_equal(sl_queue_copy(&q, out, sizeof(out)), 0);
    sl_queue_consume(&q, &p, 0);
    sl_queue_clear(&q, &p);
    assert_int_equal(sl_queue_append(&q, &p, "abcdefgh", 8), SL_OK);
    assert_int_equal(p.used_n, 1);
    sl_queue_consume(&q, &p, 8);
    assert_int_equal(p.used_n, 0);
    assert_null(q.head);
    assert_null(q.tail);
    sl_chunk_pool_fini(&p);
}

static void an_append_that_fails_appends_nothing(void **state)
{
    static char data[3 * DATA_BYTES];
    struct sl_chunk_pool p;
    struct sl_queue q = {0};
    char out[4];
    (void)state;

    sl_chunk_pool_init(&p, 3 * SL_CHUNK_BYTES, 3);
    assert_int_equal(sl_queue_append(&q, &p, "abc", 3), SL_OK);
    assert_int_equal(sl_queue_append(&q, &p, data, sizeof(data)), SL_ELIMIT);
    assert_int_equal(q.bytes, 3);
    assert_int_equal(p.used_n, 1);
    assert_int_equal(sl_queue_copy(&q, out, 4), 3);
    assert_memory_equal(out, "abc", 3);
    assert_int_equal(sl_queue_append(&q, &p, data, sizeof(data) - 3), SL_OK); /* the last byte */
    assert_int_equal(sl_queue_append(&q, &p, "x", 1), SL_ELIMIT);
    assert_int_equal(q.bytes, 3 * DATA_BYTES);
    sl_queue_clear(&q, &p);
    sl_chunk_pool_fini(&p);
}

static void lack_of_memory_is_told_from_the_limit_and_survived(void **state)
{
    static char data[5 * DATA_BYTES];
    size_t fail_at = 0;
    int rc = SL_ENOMEM;
    (void)state;

    for (; rc != SL_OK && fail_at < 10; fail_at++) {
        struct sl_chunk_pool p;
        struct sl_queue q = {0};

        sl_chunk_pool_init(&p, 10 * SL_CHUNK_BYTES, 0);
        allocs_left = fail_at;
        sl_alloc_hook = while_some_left;
        rc = sl_queue_append(&q, &p, data, sizeof(data));
        if (rc != SL_OK) {
            assert_int_equal(rc, SL_ENOMEM);
            assert_int_equal(q.bytes, 0);
            assert_null(q.head);
            assert_int_equal(p.used_n, 0);
        }
        sl_queue_clear(&q, &p);
        sl_chunk_pool_fini(&p);
    }
    assert_int_equal(rc, SL_OK);
    assert_int_equal(fail_at, 6); /* five chunks, and the round that got all of them */
}

static void peek_covers_the_front_with_as_many_vectors_as_allowed(void **state)
{
    static char data[3 * DATA_BYTES];
    struct sl_chunk_pool p;
    struct sl_queue q = {0};
    struct iovec iov[4];
    (void)state;

    sl_chunk_pool_init(&p, 8 * SL_CHUNK_BYTES, 0);
    assert_int_equal(sl_queue_append(&q, &p, data, sizeof(data)), SL_OK);
    sl_queue_consume(&q, &p, 100);
    assert_int_equal(sl_queue_peek(&q, iov, 0), 0);
    assert_int_equal(sl_queue_peek(&q, iov, 2), 2);
    assert_int_equal(iov[0].iov_len, DATA_BYTES - 100);
    assert_int_equal(iov[1].iov_len, DATA_BYTES);
    assert_int_equal(sl_queue_peek(&q, iov, 4), 3);
    sl_queue_clear(&q, &p);
    sl_chunk_pool_fini(&p);
}

/* The queue against an array that is moved with memmove: slow, and too simple to be wrong. */
struct model {
    char bytes[MODEL_BYTES];
    size_t len;
};

static void compare(const struct sl_queue *q, const struct sl_chunk_pool *p, const struct model *m,
                    int step)
{
    static char out[MODEL_BYTES];
    struct iovec iov[64];
    int iov_n = sl_queue_peek(q, iov, 64);
    size_t at = 0;

    check(q->bytes == m->len, "step %d: %zu bytes, expected %zu", step, q->bytes, m->len);
    check(chain_n(q) == p->used_n, "step %d: %u chunks linked, %u in use", step, chain_n(q),
          p->used_n);
    check(sl_queue_copy(q, out, sizeof(out)) == m->len, "step %d: copied another length", step);
    check(memcmp(out, m->bytes, m->len) == 0, "step %d: copied other bytes", step);
    for (int i = 0; i < iov_n; i++) {
        check(iov[i].iov_len > 0, "step %d: vector %d is empty", step, i);
        check(at + iov[i].iov_len <= m->len &&
                  memcmp(iov[i].iov_base, m->bytes + at, iov[i].iov_len) == 0,
              "step %d: vector %d shows other bytes", step, i);
        at += iov[i].iov_len;
    }
    check(at == m->len, "step %d: the vectors cover %zu of %zu", step, at, m->len);
}

static size_t some_length(struct sl_rng *rng)
{
    return sl_rng_below(rng, 8) == 0 ? sl_rng_below(rng, 3 * DATA_BYTES) : sl_rng_below(rng, 600);
}

static void a_queue_equals_a_plain_array_whatever_is_done(void **state)
{
    static struct model m;
    static char data[3 * DATA_BYTES];
    (void)state;

    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct sl_rng rng = {seed};
        struct sl_chunk_pool p;
        struct sl_queue q = {0};

        m.len = 0;
        sl_chunk_pool_init(&p, 12 * SL_CHUNK_BYTES, 3);
        for (int step = 0; step < 1000; step++) {
            size_t n = some_length(&rng);

            if (sl_rng_below(&rng, 100) == 0) {
                sl_queue_clear(&q, &p);
                m.len = 0;
            } else if (sl_rng_below(&rng, 2) == 0) {
                for (size_t i = 0; i < n; i++) {
                    data[i] = (char)sl_rng_next(&rng);
                }
                if (sl_queue_append(&q, &p, data, n) == SL_OK) {
                    memcpy(m.bytes + m.len, data, n);
                    m.len += n;
                }
            } else {
                n = n < m.len ? n : m.len;
                sl_queue_consume(&q, &p, n);
                m.len -= n;
                memmove(m.bytes, m.bytes + n, m.len);
            }
            compare(&q, &p, &m, step);
        }
        sl_queue_clear(&q, &p);
        assert_int_equal(p.used_n, 0);
        sl_chunk_pool_fini(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_pool_gives_up_to_its_limit_and_keeps_a_few),
        cmocka_unit_test(a_limit_of_any_size_is_understood),
        cmocka_unit_test(an_empty_queue_holds_no_chunk),
        cmocka_unit_test(an_append_that_fails_appends_nothing),
        cmocka_unit_test_teardown(lack_of_memory_is_told_from_the_limit_and_survived, without_hook),
        cmocka_unit_test(peek_covers_the_front_with_as_many_vectors_as_allowed),
        cmocka_unit_test(a_queue_equals_a_plain_array_whatever_is_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
