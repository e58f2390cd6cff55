/* SPDX-License-Identifier: Apache-2.0 */
/* Broken on purpose: `make canary` wants ThreadSanitizer to end this with exit code 66. */
#include <pthread.h>
#include <stddef.h>

static int shared_n;

static void *count(void *arg)
{
    for (int i = 0; i < 100000; i++) {
        shared_n++;
    }
    return arg;
}

int main(void)
{
    pthread_t other;

    if (pthread_create(&other, NULL, count, NULL) != 0) {
        return 2;
    }
    (void)count(NULL);
    return pthread_join(other, NULL) == 0 ? 0 : 3;
}
