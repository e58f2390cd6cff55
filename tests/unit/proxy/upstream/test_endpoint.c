/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "proxy/base/alloc.h"
#include "proxy/base/rng.h"
#include "proxy/upstream/endpoint.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

enum {
    FOUND_MAX_N = 32,
    WORKERS_N = 3
};

struct fixture {
    struct sl_endpoint_ids ids;
    struct sl_endpoint_table table;
    struct sl_found found[FOUND_MAX_N];
    struct sl_member members[FOUND_MAX_N];
    struct sl_member_labels labels[FOUND_MAX_N];
    size_t members_n;
};

static void fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    sl_endpoint_table_init(&f->table, WORKERS_N, &f->ids);
}

static struct sl_found found_of(const char *host, uint16_t port, const char *uid)
{
    struct sl_found found = {.address.port = port, .weight = 1};

    (void)snprintf(found.address.host, sizeof(found.address.host), "%s", host); /* fits */
    (void)snprintf(found.pod_uid, sizeof(found.pod_uid), "%s", uid);            /* fits */
    found.address.is_unix = host[0] == '/';
    return found;
}

static int match(struct fixture *f, size_t n)
{
    const struct sl_snapshot snapshot = {.items = f->found, .n = n};
    return sl_endpoint_table_match(&f->table, &snapshot, 0, f->members, f->labels, &f->members_n);
}

static void release(struct fixture *f)
{
    sl_endpoint_table_release(&f->table, f->members, f->members_n);
}

static void an_identity_is_address_port_and_pod(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f);
    f.found[0] = found_of("10.0.0.1", 80, "");
    f.found[1] = found_of("10.0.0.1", 80, "pod-a");
    f.found[2] = found_of("10.0.0.1", 80, "pod-b");
    f.found[3] = found_of("10.0.0.1", 81, "pod-a");
    f.found[4] = found_of("10.0.0.2", 80, "pod-a");
    f.found[5] = found_of("/run/a.sock", 0, "");
    assert_int_equal(match(&f, 6), SL_OK);
    assert_int_equal(f.members_n, 6);
    for (size_t i = 0; i < 6; i++) {
        const struct sl_endpoint *ep = f.members[i].endpoint;
        assert_string_equal(ep->address.host, f.found[i].address.host);
        assert_string_equal(ep->pod_uid, f.found[i].pod_uid);
        assert_int_equal(ep->address.port, f.found[i].address.port);
        assert_int_equal(ep->id, i + 1);
        assert_int_equal(ep->cells_n, WORKERS_N);
        assert_int_equal((uintptr_t)&ep->cells[1] % 64, 0);
    }
    release(&f);
    sl_endpoint_table_fini(&f.table);
}

static void the_same_identity_is_the_same_object_with_its_counters(void **state)
{
    struct sl_member first[2];
    struct fixture f;
    (void)state;

    fixture_init(&f);
    f.found[0] = found_of("10.0.0.1", 80, "pod-a");
    f.found[1] = found_of("10.0.0.2", 80, "pod-b");
    assert_int_equal(match(&f, 2), SL_OK);
    memcpy(first, f.members, sizeof(first));
    sl_endpoint_count(first[0].endpoint, 0, SL_ENDPOINT_REQUESTS);
    sl_endpoint_count(first[0].endpoint, 2, SL_ENDPOINT_REQUESTS);

    f.found[1] = found_of("10.0.0.2", 80, "pod-c"); /* took over the address */
    f.found[0].weight = 7;
    f.found[0].draining = true;
    assert_int_equal(match(&f, 2), SL_OK);
    assert_ptr_equal(f.members[0].endpoint, first[0].endpoint);
    assert_int_equal(sl_endpoint_stat(f.members[0].endpoint, SL_ENDPOINT_REQUESTS), 2);
    assert_int_equal(f.members[0].weight, 7);
    assert_true(f.members[0].draining);
    assert_ptr_not_equal(f.members[1].endpoint, first[1].endpoint);
    assert_int_equal(f.table.n, 3);

    sl_endpoint_table_release(&f.table, first, 2); /* pod-b goes with the last set that names it */
    assert_int_equal(f.table.n, 2);
    release(&f);
    sl_endpoint_table_fini(&f.table);
}

static void order_and_repetition_in_a_snapshot_do_not_matter(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f);
    f.found[0] = found_of("10.0.0.3", 80, "");
    f.found[1] = found_of("10.0.0.1", 80, "");
    f.found[2] = found_of("10.0.0.3", 80, "");
    f.found[3] = found_of("10.0.0.2", 80, "");
    for (size_t i = 0; i < 4; i++) { /* as the last digit */
        (void)snprintf(f.found[i].version, sizeof(f.found[i].version), "v%s",
                       &f.found[i].address.host[7]); /* fits */
    }
    assert_int_equal(match(&f, 4), SL_OK);
    assert_int_equal(f.members_n, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(f.members[i].endpoint->address.host[7] - '1', i);
        assert_int_equal(f.members[i].endpoint->refs_n, 1);
        assert_int_equal(f.labels[i].version[1] - '1', i);
    }
    release(&f);
    sl_endpoint_table_fini(&f.table);
}

static void any_series_of_snapshots_leaves_exactly_what_is_referred_to(void **state)
{
    struct sl_rng rng = {.state = 3};
    struct sl_member before[FOUND_MAX_N];
    size_t before_n = 0;
    struct fixture f;
    (void)state;

    fixture_init(&f);
    for (int round = 0; round < 300; round++) {
        size_t n = 0;
        for (unsigned i = 0; i < FOUND_MAX_N; i++) {
            char host[16];
            (void)snprintf(host, sizeof(host), "10.0.0.%u", i); /* fits */
            f.found[n] = found_of(host, 80, "");
            n += sl_rng_below(&rng, 3) != 0;
        }
        assert_int_equal(match(&f, n), SL_OK);
        sl_endpoint_table_release(&f.table, before, before_n);
        check(f.table.n == n, "round %d: %zu in the table, %zu in the snapshot", round, f.table.n,
              n);
        for (size_t i = 0; i < n; i++) {
            check(f.table.items[i] == f.members[i].endpoint && f.table.items[i]->refs_n == 1,
                  "round %d, item %zu", round, i);
        }
        memcpy(before, f.members, sizeof(before));
        before_n = n;
    }
    sl_endpoint_table_release(&f.table, before, before_n);
    assert_int_equal(f.table.n, 0);
    sl_endpoint_table_fini(&f.table);
}

static void who_watches_an_endpoint_keeps_it_beyond_the_sets(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f);
    f.found[0] = found_of("10.0.0.1", 80, "");
    assert_int_equal(match(&f, 1), SL_OK);
    struct sl_endpoint *ep = sl_endpoint_ref(f.members[0].endpoint);
    release(&f);
    assert_int_equal(f.table.n, 1);
    assert_int_equal(match(&f, 1), SL_OK);
    assert_ptr_equal(f.members[0].endpoint, ep);
    release(&f);
    sl_endpoint_unref(&f.table, &ep);
    assert_null(ep);
    assert_int_equal(f.table.n, 0);
    sl_endpoint_table_fini(&f.table);
}

static void a_drain_by_hand_holds_in_each_tier_until_discovery_drops_the_endpoint(void **state)
{
    struct sl_member first[2];
    struct fixture f;
    (void)state;

    fixture_init(&f);
    f.found[0] = found_of("10.0.0.1", 80, "");
    f.found[1] = found_of("10.0.0.2", 80, "");
    assert_int_equal(match(&f, 2), SL_OK);
    memcpy(first, f.members, sizeof(first));
    atomic_store(&first[0].endpoint->drained_by_hand, true);
    for (enum sl_tier tier = SL_TIER_READY; tier < SL_TIERS_N; tier++) {
        assert_false(sl_endpoint_eligible(&first[0], tier, 0));
        assert_true(sl_endpoint_eligible(&first[1], tier, 0) == (tier != SL_TIER_REFUSING));
    }
    f.found[0].weight = 9; /* another set, the same endpoint */
    assert_int_equal(match(&f, 2), SL_OK);
    assert_false(sl_endpoint_eligible(&f.members[0], SL_TIER_ANY, 0));
    release(&f);

    f.found[0] = f.found[1]; /* the first is dropped; requests keep it for a while */
    assert_int_equal(match(&f, 1), SL_OK);
    assert_false(atomic_load(&first[0].endpoint->drained_by_hand));
    release(&f);
    sl_endpoint_table_release(&f.table, first, 2);
    sl_endpoint_table_fini(&f.table);
}

static void more_than_the_limit_is_refused(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f);
    assert_int_equal(match(&f, SL_MEMBERS_MAX_N + 1), SL_ELIMIT); /* before it looks at any */
    sl_endpoint_table_fini(&f.table);
}

static int allocs_left_n;

static bool allow_alloc(size_t size_bytes)
{
    (void)size_bytes;
    return allocs_left_n-- > 0;
}

static void match_survives_each_failed_allocation_and_changes_nothing(void **state)
{
    struct sl_member first[2];
    struct fixture f;
    int rc = SL_ENOMEM;
    int allowed_n = 0;
    (void)state;

    fixture_init(&f);
    f.found[0] = found_of("10.0.0.2", 80, "");
    f.found[1] = found_of("10.0.0.4", 80, "");
    assert_int_equal(match(&f, 2), SL_OK);
    memcpy(first, f.members, sizeof(first));
    f.found[2] = found_of("10.0.0.1", 80, "");
    f.found[3] = found_of("10.0.0.3", 80, "");
    sl_alloc_hook = allow_alloc;
    for (; rc != SL_OK; allowed_n++) {
        check(rc == SL_ENOMEM && f.table.n == 2 && first[0].endpoint->refs_n == 1 &&
                  first[1].endpoint->refs_n == 1,
              "%d allowed: %d, %zu in the table", allowed_n - 1, rc, f.table.n);
        allocs_left_n = allowed_n;
        rc = match(&f, 4);
    }
    sl_alloc_hook = NULL;
    check(allowed_n == 5, "%d allocations", allowed_n - 1); /* two arrays, two endpoints */
    release(&f);
    sl_endpoint_table_release(&f.table, first, 2);
    sl_endpoint_table_fini(&f.table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_identity_is_address_port_and_pod),
        cmocka_unit_test(the_same_identity_is_the_same_object_with_its_counters),
        cmocka_unit_test(order_and_repetition_in_a_snapshot_do_not_matter),
        cmocka_unit_test(any_series_of_snapshots_leaves_exactly_what_is_referred_to),
        cmocka_unit_test(who_watches_an_endpoint_keeps_it_beyond_the_sets),
        cmocka_unit_test(a_drain_by_hand_holds_in_each_tier_until_discovery_drops_the_endpoint),
        cmocka_unit_test(more_than_the_limit_is_refused),
        cmocka_unit_test(match_survives_each_failed_allocation_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
