/* SPDX-License-Identifier: Apache-2.0 */
/*
 * environment: what a service manager says there.
 *
 * Not secure_getenv: a binary with file capabilities must hear it, too, and it names no code.
 *
 * Lifetime:  texts are the process's
 * Thread:    at the start, when there is one
 */
#ifndef SL_RUN_ENVIRONMENT_H
#define SL_RUN_ENVIRONMENT_H

#include <stdlib.h>

static inline const char *sl_environment(const char *name)
{
    return getenv(name); /* NOLINT(concurrency-mt-unsafe) */
}

#endif
