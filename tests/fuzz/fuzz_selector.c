/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any text is a selector or is refused at one of its own bytes; a selector stays one with white
 * space around it, and twice in a row.
 */
#include <sluiced/discovery.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct sl_pos pos = {.file = "f", .key = "k", .line = 1, .column = 1};
    struct sl_error err = {0};
    char text[1024];
    char more[2 * sizeof(text) + 8];

    if (size >= sizeof(text)) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    size_t len = strlen(text);
    int rc = sl_selector_check(text, &pos, &err);
    if (rc != SL_OK) {
        if (rc != SL_ECONFIG || err.column < 1 || err.column > len + 1 || err.message[0] == '\0') {
            abort();
        }
        return 0;
    }
    (void)snprintf(more, sizeof(more), " %s ,\t%s ", text, text);
    if (sl_selector_check(more, NULL, &err) != SL_OK) {
        abort();
    }
    return 0;
}
