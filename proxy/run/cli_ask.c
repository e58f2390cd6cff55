/* SPDX-License-Identifier: Apache-2.0 */
#include "cli_ask.h"

#include <sluiced/time.h>

#include "config/values.h"
#include "proxy/admin/client.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#define LOOK_MS 50
#define RESETS_MAX_N 5
#define REFUSAL_MAX_BYTES 8192 /* to be shown */

/* Where the process listens: it may be running well by an older file than the one there now. */
int sl_cli_find_admin(const struct sl_cli *cli, struct sl_address *out)
{
    const struct sl_config *config;
    struct sl_error err;

    if (cli->admin != NULL) {
        if (sl_value_address(sl_slice_of(cli->admin), NULL, 1, out, &err) != SL_OK) {
            (void)fprintf(stderr, "--admin: %s\n", err.message);
            return SL_EXIT_USAGE;
        }
        return 0;
    }
    int code = sl_cli_load(cli->file, &config);
    if (code != 0) {
        (void)fprintf(stderr, "--admin ADDRESS:PORT asks a process whatever its file says now\n");
        return code;
    }
    *out = config->admin.listen;
    if (!config->admin.enabled) {
        (void)fprintf(stderr, "%s: admin.listen is not set, so nobody can be asked\n", cli->file);
        code = SL_EXIT_USAGE;
    }
    sl_config_unref(&config);
    return code;
}

/* In a line of its own, and so that it cannot steer the terminal: it may be anybody's. */
static void print_refusal(uint16_t status, const char *text, size_t len)
{
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r')) {
        len--;
    }
    (void)fprintf(stderr, "%u: ", status);
    for (size_t i = 0; i < len && i < REFUSAL_MAX_BYTES; i++) {
        bool is_control = ((unsigned char)text[i] < ' ' && text[i] != '\n') || text[i] == 0x7f;
        (void)fputc(is_control ? '?' : text[i], stderr);
    }
    (void)fputc('\n', stderr);
}

/* A refusal is text, or an object with an "error". */
static int check_status(uint16_t status, const struct sl_text *answer)
{
    if (status == 200) {
        return 0;
    }
    struct sl_answer *a = sl_answer_parse(sl_text_slice(answer));
    const char *error = a != NULL ? sl_answer_text(a, "error") : "";
    if (error[0] != '\0') {
        print_refusal(status, error, strlen(error));
    } else {
        print_refusal(status, answer->ptr, answer->len);
    }
    sl_answer_free(a);
    return SL_EXIT_FAILED;
}

static int ask(const struct sl_address *admin, const char *method, const char *path,
               struct sl_text *answer)
{
    struct sl_error err;
    uint16_t status = 0;

    if (sl_admin_ask(admin, method, path, &status, answer, &err) != SL_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return SL_EXIT_FAILED;
    }
    return check_status(status, answer);
}

int sl_cli_get(const struct sl_cli *cli, const char *path, struct sl_text *answer)
{
    struct sl_address admin;
    int code = sl_cli_find_admin(cli, &admin);

    return code == 0 ? ask(&admin, "GET", path, answer) : code;
}

struct look {
    const char *path;
    sl_cli_answer_fn on_answer;
    void *arg;
    uint64_t waited_ms;
    unsigned resets_n; /* one after the other */
};

int sl_cli_no_answer(const char *path)
{
    (void)fprintf(stderr, "what answers %s is not sluiced, or no memory is left\n", path);
    return SL_CLI_LOST;
}

static int read_object(const struct look *l, const struct sl_text *text)
{
    struct sl_answer *a = sl_answer_parse(sl_text_slice(text));

    if (a == NULL) {
        return sl_cli_no_answer(l->path);
    }
    int code = l->on_answer(l->arg, a, l->waited_ms);
    sl_answer_free(a);
    return code;
}

int sl_cli_ask_object(const struct sl_address *admin, const char *method, const char *path,
                      sl_cli_answer_fn on_answer, void *arg)
{
    const struct look l = {.path = path, .on_answer = on_answer, .arg = arg};
    struct sl_text answer;

    sl_text_init(&answer, SL_ANSWER_MAX_BYTES);
    int code = ask(admin, method, path, &answer);
    if (code == 0) {
        code = read_object(&l, &answer);
    }
    sl_text_fini(&answer);
    return code == SL_CLI_LOST ? SL_EXIT_FAILED : code;
}

/* What became of a question that was asked before. A process that ends cuts whoever asks it, which
 * proves little: the next look is refused. */
static int look(const struct sl_address *admin, struct look *l)
{
    struct sl_text answer;
    struct sl_error err;
    uint16_t status = 0;
    int code = SL_CLI_LOST;

    sl_text_init(&answer, SL_ANSWER_MAX_BYTES);
    int rc = sl_admin_ask(admin, "GET", l->path, &status, &answer, &err);
    l->resets_n = rc == SL_ERESET ? l->resets_n + 1 : 0;
    if (rc == SL_EREFUSED) {
        code = SL_CLI_GONE;
    } else if (l->resets_n > 0 && l->resets_n < RESETS_MAX_N) {
        code = SL_CLI_GOES_ON;
    } else if (rc != SL_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
    } else if (check_status(status, &answer) == 0) {
        code = read_object(l, &answer);
    }
    sl_text_fini(&answer);
    return code;
}

int sl_cli_watch(const struct sl_address *admin, const char *path, sl_cli_answer_fn on_answer,
                 void *arg)
{
    struct look l = {.path = path, .on_answer = on_answer, .arg = arg};
    uint64_t start_ms = sl_time_now_ms();
    int code = look(admin, &l);

    while (code == SL_CLI_GOES_ON) {
        (void)poll(NULL, 0, LOOK_MS); /* ended early by a signal, the next look comes early */
        l.waited_ms = sl_time_now_ms() - start_ms;
        code = look(admin, &l);
    }
    return code;
}
