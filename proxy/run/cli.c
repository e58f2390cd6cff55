/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <sluiced/version.h>

#include "process.h"

#include "proxy/admin/client.h"
#include "proxy/admin/status_text.h"
#include "proxy/base/text.h"

#include <stdio.h>
#include <string.h>

#define EXIT_FAILED 1
#define EXIT_USAGE 2
#define ANSWER_MAX_BYTES ((size_t)64 * 1024 * 1024)

static const char usage[] =
    "usage: sluiced [run] -c FILE    serve by FILE; SIGHUP or an edit of FILE reloads it\n"
    "       sluiced check -c FILE    say whether FILE would be accepted\n"
    "       sluiced status -c FILE   show listeners, shares and endpoints of the running process\n"
    "       sluiced endpoints -c FILE   one line for each endpoint\n"
    "       sluiced reload -c FILE   make the running process read FILE again\n"
    "       sluiced drain -c FILE    make the running process finish its requests and end\n"
    "       sluiced version\n"
    "The last four find the process at admin.listen of FILE.\n";

static int load(const char *file, const struct sl_config **out)
{
    struct sl_config_errors errors = {0};
    char line[800];

    if (sl_config_load(file, out, &errors) == SL_OK) {
        return 0;
    }
    for (size_t i = 0; i < errors.n; i++) {
        sl_error_format(&errors.items[i], line, sizeof(line));
        (void)fprintf(stderr, "%s\n", line);
    }
    if (errors.dropped_n > 0) {
        (void)fprintf(stderr, "and %zu more\n", errors.dropped_n);
    }
    return EXIT_USAGE;
}

/* A context of each kind is made and thrown away: what they refuse, run would refuse too. */
static int check_tls(const struct sl_config *config, const char *file)
{
    struct sl_tls_secret secret = {{0}};
    struct sl_error err;
    int code = 0;

    for (size_t i = 0; i < config->listeners_n; i++) {
        struct sl_tls_context *c = NULL;
        const struct sl_listener_config *l = &config->listeners[i];
        if (l->tls != NULL &&
            sl_tls_server_context_new(l->name, l->tls, &secret, &c, &err) != SL_OK)
        {
            (void)fprintf(stderr, "%s:%u:%u: %s\n", file, l->pos.line, l->pos.column, err.message);
            code = EXIT_USAGE;
        }
        sl_tls_context_free(c);
    }
    for (size_t i = 0; i < config->pools_n; i++) {
        struct sl_tls_context *c = NULL;
        const struct sl_pool_config *p = &config->pools[i];
        if (p->tls != NULL && sl_tls_client_context_new(p->name, p->tls, &c, &err) != SL_OK) {
            (void)fprintf(stderr, "%s:%u:%u: %s\n", file, p->pos.line, p->pos.column, err.message);
            code = EXIT_USAGE;
        }
        sl_tls_context_free(c);
    }
    return code;
}

static int check(const char *file)
{
    const struct sl_config *config;
    int code = load(file, &config);

    if (code == 0) {
        code = check_tls(config, file);
        if (code == 0) {
            (void)printf("%s: ok: %zu listeners, %zu pools\n", file, config->listeners_n,
                         config->pools_n);
        }
        sl_config_unref(&config);
    }
    return code;
}

/* Asks the running process; answer is initialised and the caller's to end. */
static int ask(const char *file, const char *method, const char *path, struct sl_text *answer)
{
    const struct sl_config *config;
    struct sl_error err;
    uint16_t status = 0;
    int code = load(file, &config);

    if (code != 0) {
        return code;
    }
    if (!config->admin.enabled) {
        (void)fprintf(stderr, "%s: admin.listen is not set, so nobody can be asked\n", file);
        code = EXIT_USAGE;
    } else if (sl_admin_ask(&config->admin.listen, method, path, &status, answer, &err) != SL_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        code = EXIT_FAILED;
    } else if (status != 200) {
        (void)fprintf(stderr, "%u: %.*s\n", status, (int)answer->len, answer->ptr);
        code = EXIT_FAILED;
    }
    sl_config_unref(&config);
    return code;
}

static int show(const char *file, bool endpoints_only)
{
    struct sl_text json;
    struct sl_text text;
    struct sl_error err;

    sl_text_init(&json, ANSWER_MAX_BYTES);
    sl_text_init(&text, ANSWER_MAX_BYTES);
    int code = ask(file, "GET", "/status", &json);
    if (code == 0) {
        int rc = endpoints_only ? sl_status_text_write_endpoints(sl_text_slice(&json), &text, &err)
                                : sl_status_text_write(sl_text_slice(&json), &text, &err);
        if (rc == SL_OK) {
            (void)fwrite(text.ptr, 1, text.len, stdout);
        } else {
            (void)fprintf(stderr, "%s\n", err.message);
            code = EXIT_FAILED;
        }
    }
    sl_text_fini(&json);
    sl_text_fini(&text);
    return code;
}

static int status(const char *file)
{
    return show(file, false);
}

static int endpoints(const char *file)
{
    return show(file, true);
}

static int tell(const char *file, const char *path)
{
    struct sl_text answer;

    sl_text_init(&answer, ANSWER_MAX_BYTES);
    int code = ask(file, "POST", path, &answer);
    if (code == 0) {
        (void)fwrite(answer.ptr, 1, answer.len, stdout);
    }
    sl_text_fini(&answer);
    return code;
}

static int reload(const char *file)
{
    return tell(file, "/reload");
}

static int drain(const char *file)
{
    return tell(file, "/drain");
}

static int refuse(const char *why, const char *what)
{
    (void)fprintf(stderr, "sluiced: %s%s\n%s", why, what, usage);
    return EXIT_USAGE;
}

static const struct {
    const char *name;
    int (*run)(const char *file);
} verbs[] = {
    {"run", sl_process_run},  {"check", check},   {"status", status},
    {"endpoints", endpoints}, {"reload", reload}, {"drain", drain},
};

int sl_cli_main(int argc, char **argv)
{
    const char *verb = "run";
    const char *file = NULL;
    int at = 1;

    if (at < argc && argv[at][0] != '-') {
        verb = argv[at++];
    }
    if (at < argc && (strcmp(argv[at], "-h") == 0 || strcmp(argv[at], "--help") == 0)) {
        (void)fputs(usage, stdout);
        return 0;
    }
    if (strcmp(verb, "version") == 0 || (at < argc && strcmp(argv[at], "--version") == 0)) {
        (void)printf("sluiced %s\n", SL_VERSION);
        return 0;
    }
    for (; at < argc; at++) {
        if (strcmp(argv[at], "-c") != 0) {
            return refuse("unknown argument ", argv[at]);
        }
        if (++at == argc) {
            return refuse("-c needs a file", "");
        }
        file = argv[at];
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(verbs); i++) {
        if (strcmp(verbs[i].name, verb) == 0) {
            return file != NULL ? verbs[i].run(file) : refuse("-c FILE is missing", "");
        }
    }
    return refuse("unknown verb ", verb);
}
