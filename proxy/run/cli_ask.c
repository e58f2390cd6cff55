/* SPDX-License-Identifier: Apache-2.0 */
#include "cli_verbs.h"
#include "process.h"

#include "config/values.h"
#include "proxy/admin/client.h"

#include <poll.h>
#include <stdio.h>

int sl_cli_load(const char *file, const struct sl_config **out)
{
    struct sl_config_errors errors = {0};

    if (sl_config_load(file, out, &errors) == SL_OK) {
        return 0;
    }
    sl_print_config_errors(&errors);
    return SL_EXIT_USAGE;
}

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

static int check_status(uint16_t status, const struct sl_text *answer)
{
    if (status == 200) {
        return 0;
    }
    (void)fprintf(stderr, "%u: %.*s\n", status, (int)answer->len, answer->ptr);
    return SL_EXIT_FAILED;
}

int sl_cli_ask(const struct sl_cli *cli, const char *method, const char *path,
               struct sl_text *answer)
{
    struct sl_address admin;
    struct sl_error err;
    uint16_t status = 0;
    int code = sl_cli_find_admin(cli, &admin);

    if (code != 0) {
        return code;
    }
    if (sl_admin_ask(&admin, method, path, &status, answer, &err) != SL_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return SL_EXIT_FAILED;
    }
    return check_status(status, answer);
}

int sl_cli_ask_again(const struct sl_address *admin, const char *path, struct sl_text *answer,
                     bool *gone)
{
    struct sl_error err;
    uint16_t status = 0;
    int rc = sl_admin_ask(admin, "GET", path, &status, answer, &err);

    *gone = rc != SL_OK;
    if (rc != SL_OK) {
        return SL_EXIT_FAILED;
    }
    return check_status(status, answer);
}

int sl_cli_no_answer(const char *path)
{
    (void)fprintf(stderr, "what answers %s is not sluiced, or no memory is left\n", path);
    return SL_EXIT_FAILED;
}

void sl_cli_pause(uint64_t ms)
{
    (void)poll(NULL, 0, (int)ms); /* ended early by a signal, the next look comes early */
}
