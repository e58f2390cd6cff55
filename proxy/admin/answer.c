/* SPDX-License-Identifier: Apache-2.0 */
#include "answer.h"

#include <sluiced/err.h>

#include "proxy/base/alloc.h"

#include <jansson.h>

struct sl_answer {
    json_t *root;
};

struct sl_answer *sl_answer_parse(struct sl_slice json)
{
    struct sl_answer *a = sl_alloc(sizeof(*a));

    if (a == NULL) {
        return NULL;
    }
    a->root = json_loadb(json.ptr != NULL ? json.ptr : "", json.len, 0, NULL);
    if (!json_is_object(a->root)) {
        sl_answer_free(a);
        return NULL;
    }
    return a;
}

void sl_answer_free(struct sl_answer *a)
{
    if (a != NULL) {
        json_decref(a->root);
        sl_free(a);
    }
}

const char *sl_answer_text(const struct sl_answer *a, const char *key)
{
    const char *text = json_string_value(json_object_get(a->root, key));
    return text != NULL ? text : "";
}

uint64_t sl_answer_number(const struct sl_answer *a, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(a->root, key));
    return n > 0 ? (uint64_t)n : 0;
}

bool sl_answer_is_true(const struct sl_answer *a, const char *key)
{
    return json_is_true(json_object_get(a->root, key));
}

bool sl_answer_is_false(const struct sl_answer *a, const char *key)
{
    return json_is_false(json_object_get(a->root, key));
}
