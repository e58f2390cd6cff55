/* SPDX-License-Identifier: Apache-2.0 */
#include "config/docs.h"
#include "proxy/base/text.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char path[] = "docs/config.md";

static void the_reference_says_what_the_tables_say(void **state)
{
    static char page[1 << 17];
    struct sl_text text;
    (void)state;

    sl_text_init(&text, sizeof(page));
    sl_config_write_docs(&text);
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
    sl_text_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_says_what_the_tables_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
