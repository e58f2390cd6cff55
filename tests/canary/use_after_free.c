/* SPDX-License-Identifier: Apache-2.0 */
/* Broken on purpose: `make canary` wants AddressSanitizer to end this with exit code 1. */
#include <stdlib.h>

int main(void)
{
    volatile char *p = malloc(16);

    if (p == NULL) {
        return 2;
    }
    p[3] = 'x';
    free((void *)p);
    return p[3] == 'x' ? 0 : 3;
}
