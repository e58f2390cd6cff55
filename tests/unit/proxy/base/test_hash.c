/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/defs.h>

#include "proxy/base/hash.h"
#include "tests/unit/check.h"

/* Two sluiced that share a ring must agree, today and after an upgrade of the library. */
static void known_texts_have_the_hashes_xxh3_defines(void **state)
{
    static const struct {
        struct sl_slice text;
        uint64_t seed;
        uint64_t hash;
    } rows[] = {
        {{NULL, 0}, 0, 0x2d06800538d394c2U},
        {{"", 0}, 0, 0x2d06800538d394c2U},
        {{"a", 1}, 0, 0xe6c632b61e964e1fU},
        {{"abc", 3}, 0, 0x78af5f94892f3950U},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        uint64_t h = sl_hash(rows[i].text, rows[i].seed);

        check(h == rows[i].hash, "row %zu: %jx, expected %jx", i, (uintmax_t)h,
              (uintmax_t)rows[i].hash);
    }
}

static void the_seed_and_every_byte_count(void **state)
{
    char text[300] = {0};
    (void)state;

    for (size_t len = 1; len < sizeof(text); len += 13) {
        uint64_t h = sl_hash((struct sl_slice){text, len}, 1);

        check(h == sl_hash((struct sl_slice){text, len}, 1), "length %zu: not the same twice", len);
        check(h != sl_hash((struct sl_slice){text, len}, 2), "length %zu: the seed is lost", len);
        check(h != sl_hash((struct sl_slice){text, len - 1}, 1), "length %zu: the same", len);
        text[len - 1] = 1;
        check(h != sl_hash((struct sl_slice){text, len}, 1), "length %zu: the end is lost", len);
        text[len - 1] = 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_texts_have_the_hashes_xxh3_defines),
        cmocka_unit_test(the_seed_and_every_byte_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
