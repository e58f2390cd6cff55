/* SPDX-License-Identifier: Apache-2.0 */
#include "method.h"

#include <sluiced/defs.h>

#include <string.h>

/* By enum sl_method. */
static const struct {
    struct sl_slice name;
    bool safe;
    bool idempotent;
} methods[] = {
    [SL_METHOD_OTHER] = {{"", 0}, false, false},
    [SL_METHOD_GET] = {{"GET", 3}, true, true},
    [SL_METHOD_HEAD] = {{"HEAD", 4}, true, true},
    [SL_METHOD_POST] = {{"POST", 4}, false, false},
    [SL_METHOD_PUT] = {{"PUT", 3}, false, true},
    [SL_METHOD_DELETE] = {{"DELETE", 6}, false, true},
    [SL_METHOD_CONNECT] = {{"CONNECT", 7}, false, false},
    [SL_METHOD_OPTIONS] = {{"OPTIONS", 7}, true, true},
    [SL_METHOD_TRACE] = {{"TRACE", 5}, true, true},
    [SL_METHOD_PATCH] = {{"PATCH", 5}, false, false},
};

enum sl_method sl_method_of(struct sl_slice name)
{
    for (size_t i = 1; i < SL_ARRAY_LEN(methods); i++) {
        /* Length and first letter leave one or two: no call for the others. */
        if (name.len == methods[i].name.len && name.ptr[0] == methods[i].name.ptr[0] &&
            memcmp(name.ptr, methods[i].name.ptr, name.len) == 0)
        {
            return (enum sl_method)i;
        }
    }
    return SL_METHOD_OTHER;
}

struct sl_slice sl_method_name(enum sl_method m)
{
    return methods[m].name;
}

bool sl_method_safe(enum sl_method m)
{
    return methods[m].safe;
}

bool sl_method_idempotent(enum sl_method m)
{
    return methods[m].idempotent;
}
