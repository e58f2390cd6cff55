/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli_drain: takes a process, or an endpoint of it, out of traffic, and shows what is left.
 */
#include "cli_verbs.h"

#include "proxy/admin/answer.h"
#include "proxy/admin/query.h"
#include "proxy/admin/routes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LOOK_MS 100
#define MARGIN_MS 30000 /* for the last look, and a machine that is busy */

/* What was said last: only news is worth a line. */
struct progress {
    char said[160];
    uint64_t limit_ms; /* 0: none is known */
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

/* -1: it goes on. */
static int say_process(const struct sl_answer *a, struct progress *p)
{
    char line[sizeof(p->said)];
    const char *step = "draining, still accepting";

    if (sl_answer_is_true(a, "closing")) {
        step = sl_answer_is_true(a, "outbound_served") ? "closing inbound" : "closing";
    }
    (void)snprintf(line, sizeof(line),
                   "%s: connections inbound %" PRIu64 ", outbound %" PRIu64 "; requests %" PRIu64,
                   step, sl_answer_number(a, "inbound"), sl_answer_number(a, "outbound"),
                   sl_answer_number(a, "requests"));
    say(p, line);
    p->limit_ms = sl_answer_number(a, "delay_ms") + sl_answer_number(a, "timeout_ms") + MARGIN_MS;
    return -1;
}

/* ---- An endpoint */

/* -1: it goes on, and only who waits cares. */
static int say_endpoint(const struct sl_answer *a, struct progress *p)
{
    uint64_t running_n = sl_answer_number(a, "in_flight");
    char line[sizeof(p->said)];

    if (sl_answer_number(a, "drained") == 0) {
        say(p, "gets requests again");
        return SL_EXIT_FAILED; /* of who waits: somebody undid it, or the process is another one */
    }
    (void)snprintf(line, sizeof(line), "gets no new requests, %" PRIu64 " run there", running_n);
    say(p, line);
    return running_n == 0 ? 0 : -1;
}

/* ---- Both */

typedef int (*say_fn)(const struct sl_answer *a, struct progress *p);

static int look(const struct sl_address *admin, const char *path, say_fn says, struct progress *p,
                bool *gone)
{
    struct sl_text answer;

    sl_text_init(&answer, SL_ANSWER_MAX_BYTES);
    int code = sl_cli_ask_again(admin, path, &answer, gone);
    if (code == 0) {
        struct sl_answer *a = sl_answer_parse(sl_text_slice(&answer));

        code = a != NULL ? says(a, p) : sl_cli_no_answer(path);
        sl_answer_free(a);
    }
    sl_text_fini(&answer);
    return code;
}

/* ends: the process does, which is how it says that it is done. */
static int wait_for(const struct sl_address *admin, const char *path, say_fn says, bool ends)
{
    struct progress p = {.limit_ms = 0};
    bool gone = false;
    int code = look(admin, path, says, &p, &gone);

    for (uint64_t waited_ms = 0; code < 0; waited_ms += LOOK_MS) {
        if (p.limit_ms > 0 && waited_ms > p.limit_ms) {
            (void)fprintf(stderr, "still not done after %" PRIu64 " s\n", waited_ms / 1000);
            return SL_EXIT_FAILED;
        }
        sl_cli_pause(LOOK_MS);
        code = look(admin, path, says, &p, &gone);
    }
    if (!gone) {
        return code;
    }
    if (ends) {
        say(&p, "ended");
        return 0;
    }
    (void)fprintf(stderr, "the process went away\n");
    return SL_EXIT_FAILED;
}

static int tell(const struct sl_cli *cli, const char *path, say_fn says)
{
    struct progress p = {.limit_ms = 0};
    struct sl_text answer;

    sl_text_init(&answer, SL_ANSWER_MAX_BYTES);
    int code = sl_cli_ask(cli, "POST", path, &answer);
    struct sl_answer *a = code == 0 ? sl_answer_parse(sl_text_slice(&answer)) : NULL;
    if (code == 0 && a == NULL) {
        code = sl_cli_no_answer(path);
    } else if (code == 0 && says != NULL) {
        (void)says(a, &p);
    }
    sl_answer_free(a);
    sl_text_fini(&answer);
    return code;
}

static int drain_endpoint(const struct sl_cli *cli, const struct sl_address *admin)
{
    char path[SL_ADMIN_QUERY_BYTES] = "/drain/endpoint?endpoint=";
    char order[sizeof(path) + 8];

    if (!sl_query_append(path, sizeof(path), cli->endpoint)) {
        (void)fprintf(stderr, "the name of the endpoint is too long\n");
        return SL_EXIT_USAGE;
    }
    (void)snprintf(order, sizeof(order), "%s%s", path, cli->undo ? "&undo=1" : "");
    int code = tell(cli, order, cli->wait ? NULL : say_endpoint);
    return code == 0 && cli->wait ? wait_for(admin, path, say_endpoint, false) : code;
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
    if (cli->endpoint != NULL) {
        return drain_endpoint(cli, &admin);
    }
    code = tell(cli, "/drain", NULL);
    if (code == 0 && cli->wait) {
        return wait_for(&admin, "/drain", say_process, true);
    }
    if (code == 0) {
        (void)printf("draining; --wait shows how far it is\n");
    }
    return code;
}
