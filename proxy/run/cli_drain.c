/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli_drain: takes a process, or an endpoint of it, out of traffic, and shows what is left.
 */
#include "cli_ask.h"

#include "proxy/admin/query.h"
#include "proxy/admin/routes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MARGIN_MS 30000 /* for the last look, and a machine that is busy */
/* Two processes may share a port (SO_REUSEPORT), and either may take a question: by chance the
 * same one takes so many in a row once in a million times. */
#define OTHERS_MAX_N 20

struct progress {
    char said[160];    /* last: only news is worth a line */
    unsigned others_n; /* answers, one after the other, of a process that was not asked to drain */
};

static void say(struct progress *p, const char *line)
{
    if (strcmp(p->said, line) != 0) {
        (void)snprintf(p->said, sizeof(p->said), "%s", line); /* both have the same size */
        (void)printf("%s\n", line);
        (void)fflush(stdout); /* whoever waits wants to see it now */
    }
}

/* ---- The process */

static int on_begun(void *arg, const struct sl_answer *a, uint64_t waited_ms)
{
    (void)arg;
    (void)waited_ms;
    return sl_answer_is_true(a, "draining") ? 0 : sl_cli_no_answer("/drain");
}

/* Ours could not go back: somebody took its place. */
static int on_other(struct progress *p, const struct sl_answer *a)
{
    if (!sl_answer_is_false(a, "draining")) {
        return sl_cli_no_answer("/drain");
    }
    return ++p->others_n < OTHERS_MAX_N ? SL_CLI_GOES_ON : SL_CLI_GONE;
}

static int on_process(void *arg, const struct sl_answer *a, uint64_t waited_ms)
{
    struct progress *p = arg;
    uint64_t limit_ms =
        sl_answer_number(a, "delay_ms") + sl_answer_number(a, "timeout_ms") + MARGIN_MS;
    char line[sizeof(p->said)];
    const char *step = "draining, still accepting";

    if (!sl_answer_is_true(a, "draining")) {
        return on_other(p, a);
    }
    p->others_n = 0;
    if (sl_answer_is_true(a, "closing")) {
        step = sl_answer_is_true(a, "outbound_served") ? "closing inbound" : "closing";
    }
    (void)snprintf(line, sizeof(line),
                   "%s: connections inbound %" PRIu64 ", outbound %" PRIu64 "; requests %" PRIu64,
                   step, sl_answer_number(a, "inbound"), sl_answer_number(a, "outbound"),
                   sl_answer_number(a, "requests"));
    say(p, line);
    if (waited_ms > limit_ms) {
        (void)fprintf(stderr, "still not done after %" PRIu64 " s\n", waited_ms / 1000);
        return SL_EXIT_FAILED;
    }
    return SL_CLI_GOES_ON;
}

static int drain_process(const struct sl_cli *cli, const struct sl_address *admin)
{
    struct progress p = {.said = ""};
    int code = sl_cli_ask_object(admin, "POST", "/drain", on_begun, NULL);

    if (code == 0 && !cli->wait) {
        (void)printf("draining; --wait shows how far it is\n");
    } else if (code == 0) {
        code = sl_cli_watch(admin, "/drain", on_process, &p);
    }
    if (code == SL_CLI_GONE) { /* which is how it says that it is done */
        say(&p, p.others_n > 0 ? "ended; another process answers there now" : "ended");
        code = 0;
    } else if (code == SL_CLI_LOST) {
        (void)fprintf(stderr, "the drain was begun, and whether it has ended is not known\n");
        code = SL_EXIT_FAILED;
    }
    return code;
}

/* ---- An endpoint */

static int on_endpoint(void *arg, const struct sl_answer *a, uint64_t waited_ms)
{
    struct progress *p = arg;
    uint64_t running_n = sl_answer_number(a, "in_flight");
    char line[sizeof(p->said)];
    (void)waited_ms; /* who runs there may take any time */

    if (sl_answer_number(a, "drained") == 0) {
        say(p, "gets requests again");
        return SL_EXIT_FAILED; /* of who waits: somebody undid it, or the process is another one */
    }
    (void)snprintf(line, sizeof(line), "gets no new requests, %" PRIu64 " run there", running_n);
    say(p, line);
    return running_n == 0 ? 0 : SL_CLI_GOES_ON;
}

/* Whether there is more to come only who waits wants to know. */
static int on_ordered(void *arg, const struct sl_answer *a, uint64_t waited_ms)
{
    (void)on_endpoint(arg, a, waited_ms);
    return 0;
}

static int drain_endpoint(const struct sl_cli *cli, const struct sl_address *admin)
{
    char path[SL_ADMIN_QUERY_BYTES] = "/drain/endpoint?endpoint=";
    char order[sizeof(path) + 8];
    struct progress p = {.said = ""};

    if (!sl_query_append(path, sizeof(path), cli->endpoint)) {
        (void)fprintf(stderr, "the name of the endpoint is too long\n");
        return SL_EXIT_USAGE;
    }
    (void)snprintf(order, sizeof(order), "%s%s", path, cli->undo ? "&undo=1" : "");
    int code = sl_cli_ask_object(admin, "POST", order, on_ordered, &p);
    if (code == 0 && cli->wait) {
        code = sl_cli_watch(admin, path, on_endpoint, &p);
    }
    if (code == SL_CLI_GONE) {
        (void)fprintf(stderr, "the process went away\n");
    }
    return code == SL_CLI_GONE || code == SL_CLI_LOST ? SL_EXIT_FAILED : code;
}

int sl_cli_drain(const struct sl_cli *cli)
{
    struct sl_address admin;

    if (cli->undo && (cli->endpoint == NULL || cli->wait)) {
        (void)fprintf(stderr, "--undo is for an endpoint, and there is nothing to wait for\n");
        return SL_EXIT_USAGE;
    }
    int code = sl_cli_find_admin(cli, &admin);
    if (code != 0) {
        return code;
    }
    return cli->endpoint != NULL ? drain_endpoint(cli, &admin) : drain_process(cli, &admin);
}
