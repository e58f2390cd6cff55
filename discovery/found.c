/* SPDX-License-Identifier: Apache-2.0 */
#include "found.h"

#include <stdlib.h>
#include <string.h>

static int compare_identity(const struct sl_found *a, const struct sl_found *b)
{
    int rc = strcmp(a->address.host, b->address.host);

    if (rc == 0) {
        rc = (a->address.port > b->address.port) - (a->address.port < b->address.port);
    }
    return rc != 0 ? rc : strcmp(a->pod_uid, b->pod_uid);
}

/* Of one identity the one to keep comes first. */
static int compare(const void *left, const void *right)
{
    const struct sl_found *a = left;
    const struct sl_found *b = right;
    int rc = compare_identity(a, b);

    if (rc == 0) {
        rc = (int)a->draining - (int)b->draining;
    }
    return rc != 0 ? rc : (a->weight < b->weight) - (a->weight > b->weight);
}

size_t sl_found_sort(struct sl_found *items, size_t n)
{
    size_t kept_n = 0;

    if (n == 0) {
        return 0;
    }
    qsort(items, n, sizeof(items[0]), compare);
    for (size_t i = 1; i < n; i++) {
        if (compare_identity(&items[kept_n], &items[i]) != 0) {
            kept_n++;
            items[kept_n] = items[i];
        }
    }
    return kept_n + 1;
}

bool sl_found_equal(const struct sl_found *a, size_t a_n, const struct sl_found *b, size_t b_n)
{
    if (a_n != b_n) {
        return false;
    }
    for (size_t i = 0; i < a_n; i++) {
        if (compare_identity(&a[i], &b[i]) != 0 || a[i].draining != b[i].draining ||
            a[i].weight != b[i].weight || strcmp(a[i].pod_name, b[i].pod_name) != 0 ||
            strcmp(a[i].zone, b[i].zone) != 0 || strcmp(a[i].version, b[i].version) != 0 ||
            strcmp(a[i].model, b[i].model) != 0)
        {
            return false;
        }
    }
    return true;
}
