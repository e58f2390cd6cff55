/* SPDX-License-Identifier: Apache-2.0 */
/* Both adapters are played: what a tunnel asks of them, and when. */
#include <sluiced/err.h>

#include "proxy/base/alloc.h"
#include "proxy/l7/tunnel.h"
#include "tests/unit/check.h"

#include <string.h>

struct fixture {
    struct sl_exchange x;
    struct sl_downstream down;
    struct sl_upstream up;
    struct sl_l7 w;
    struct sl_pool_config conf;
    struct sl_view_pool pool;
    struct sl_view_side side;
    bool high;
    char said[64]; /* a letter for each call: capitals to the upstream */
};

static struct fixture *now; /* the ops know no other way */

static void note(char c)
{
    size_t len = strlen(now->said);

    assert_true(len + 1 < sizeof(now->said));
    now->said[len] = c;
}

static void down_data(struct sl_downstream *d, struct sl_slice bytes)
{
    (void)d;
    (void)bytes;
    note('d');
}

static void down_end(struct sl_downstream *d, const struct sl_headers *trailers)
{
    (void)d;
    assert_null(trailers);
    note('e');
}

static void down_off(struct sl_downstream *d)
{
    (void)d;
    note('-');
}

static void down_on(struct sl_downstream *d)
{
    (void)d;
    note('+');
}

static bool down_high(struct sl_downstream *d)
{
    (void)d;
    return now->high;
}

static void up_data(struct sl_upstream *u, struct sl_slice bytes)
{
    (void)u;
    (void)bytes;
    note('D');
}

static void up_end(struct sl_upstream *u, const struct sl_headers *trailers)
{
    (void)u;
    assert_null(trailers);
    note('E');
}

static void up_off(struct sl_upstream *u)
{
    (void)u;
    note('<');
}

static void up_on(struct sl_upstream *u)
{
    (void)u;
    note('>');
}

static bool up_high(struct sl_upstream *u)
{
    (void)u;
    return now->high;
}

/* Never: so the exchange, which has no view to let go of, is not finished here. */
static bool up_sent(struct sl_upstream *u)
{
    (void)u;
    note('?');
    return false;
}

static const struct sl_downstream_ops down_ops = {
    .data = down_data,
    .end = down_end,
    .read_off = down_off,
    .read_on = down_on,
    .is_high = down_high,
};

static const struct sl_upstream_ops up_ops = {
    .data = up_data,
    .end = up_end,
    .read_off = up_off,
    .read_on = up_on,
    .is_high = up_high,
    .is_sent = up_sent,
};

static void on_deadline(struct sl_deadline *d)
{
    (void)d;
    note('!');
}

static void begin(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    now = f;
    assert_int_equal(sl_loop_new(&f->w.loop), SL_OK);
    f->conf.timeouts.inter_byte_ms = 1000;
    f->pool.conf = &f->conf;
    f->side.pool = &f->pool;
    f->down.ops = &down_ops;
    f->up.ops = &up_ops;
    f->x.w = &f->w;
    f->x.side = &f->side;
    f->x.down = &f->down;
    f->x.up = &f->up;
    f->x.total_due_ms = UINT64_MAX;
    f->x.request_ended = true;
    sl_deadline_init(&f->x.deadline, on_deadline);
    sl_tunnel_begin(&f->x);
}

static void end(struct fixture *f)
{
    sl_deadline_remove(sl_loop_wheel(f->w.loop), &f->x.deadline);
    sl_loop_free(f->w.loop);
}

static void bytes_go_both_ways_and_are_counted(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f);
    sl_tunnel_request_data(&f.x, SL_SLICE("abc"));
    sl_tunnel_response_data(&f.x, SL_SLICE("de"));
    sl_tunnel_request_data(&f.x, SL_SLICE("f"));
    assert_string_equal(f.said, "DdD");
    assert_int_equal(f.x.bytes_in, 4);
    assert_int_equal(f.x.bytes_out, 2);
    end(&f);
}

static void a_side_that_is_full_stops_the_other_until_it_drained(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f);
    f.high = true;
    sl_tunnel_request_data(&f.x, SL_SLICE("a"));
    sl_tunnel_response_data(&f.x, SL_SLICE("b"));
    assert_string_equal(f.said, "D-d<");
    sl_tunnel_upstream_drained(&f.x);
    sl_tunnel_downstream_drained(&f.x);
    assert_string_equal(f.said, "D-d<+>");
    end(&f);
}

static void a_direction_that_has_ended_is_not_read_again(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f);
    sl_tunnel_request_end(&f.x);
    sl_tunnel_upstream_drained(&f.x);
    assert_string_equal(f.said, "E"); /* and nobody asks whether it is over */
    sl_tunnel_response_data(&f.x, SL_SLICE("b"));
    sl_tunnel_downstream_drained(&f.x);
    assert_string_equal(f.said, "Ed>");
    sl_tunnel_response_end(&f.x);
    sl_tunnel_downstream_drained(&f.x);
    assert_string_equal(f.said, "Ed>e?");
    sl_tunnel_upstream_drained(&f.x);
    assert_string_equal(f.said, "Ed>e??"); /* still not all was sent */
    end(&f);
}

static void silence_of_both_sides_is_what_is_timed(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f);
    uint64_t from = sl_loop_now_ms(f.w.loop);
    sl_wheel_advance(sl_loop_wheel(f.w.loop), from + 900);
    assert_string_equal(f.said, "");
    sl_wheel_advance(sl_loop_wheel(f.w.loop), from + 1200);
    assert_string_equal(f.said, "!");
    end(&f);
}

static void check_prepared(const char *offered, const char *kept)
{
    struct sl_exchange x = {.request.upgrade = sl_slice_of(offered)};

    sl_arena_init(&x.arena, 4096, 0, NULL, 0);
    assert_int_equal(sl_tunnel_prepare(&x), SL_OK);
    struct sl_slice got = x.request.upgrade;
    check(sl_slice_eq(got, sl_slice_of(kept)), "%s: \"%.*s\"", offered, SL_SLICE_ARG(got));
    check(got.len <= strlen(offered), "%s: it grew", offered);
    sl_arena_fini(&x.arena);
}

static void nothing_that_is_http_again_is_asked_for(void **state)
{
    static const struct {
        const char *offered;
        const char *kept;
    } rows[] = {
        {"websocket", "websocket"},
        {"h2c", ""},
        {"H2C", ""},
        {"h2", ""},
        {"HTTP/2.0", ""},
        {"http", ""},
        {"TLS/1.0", ""},
        {"h2c, websocket", "websocket"},
        {"websocket ,\th2c", "websocket"},
        {"a/1, b", "a/1,b"},
        {",, ,", ""},
        {"a//b", ""},
        {"/a", ""},
        {"a/", ""},
        {"a b", ""},
        {"\"h2c\", h2c2", "h2c2"},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        check_prepared(rows[i].offered, rows[i].kept);
    }
}

static void only_one_of_those_asked_for_is_agreed_to(void **state)
{
    struct sl_exchange x = {.request.upgrade = SL_SLICE("a/1,WebSocket")};
    (void)state;

    assert_true(sl_tunnel_offers(&x, SL_SLICE("websocket")));
    assert_true(sl_tunnel_offers(&x, SL_SLICE("A/1")));
    assert_false(sl_tunnel_offers(&x, SL_SLICE("a")));
    assert_false(sl_tunnel_offers(&x, SL_SLICE("a/1,websocket")));
    assert_false(sl_tunnel_offers(&x, SL_SLICE("")));
}

static bool refuse(size_t size_bytes)
{
    (void)size_bytes;
    return false;
}

static void without_memory_nothing_changes(void **state)
{
    struct sl_exchange x = {.request.upgrade = SL_SLICE("websocket")};
    (void)state;

    sl_arena_init(&x.arena, 4096, 0, NULL, 0);
    sl_alloc_hook = refuse;
    int rc = sl_tunnel_prepare(&x);
    sl_alloc_hook = NULL;
    assert_int_equal(rc, SL_ENOMEM);
    assert_true(sl_slice_eq(x.request.upgrade, SL_SLICE("websocket")));
    sl_arena_fini(&x.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_both_ways_and_are_counted),
        cmocka_unit_test(a_side_that_is_full_stops_the_other_until_it_drained),
        cmocka_unit_test(a_direction_that_has_ended_is_not_read_again),
        cmocka_unit_test(silence_of_both_sides_is_what_is_timed),
        cmocka_unit_test(nothing_that_is_http_again_is_asked_for),
        cmocka_unit_test(only_one_of_those_asked_for_is_agreed_to),
        cmocka_unit_test(without_memory_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
