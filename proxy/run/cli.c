/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <sluiced/version.h>

#include "process.h"

#include "config/values.h"
#include "proxy/admin/client.h"
#include "proxy/admin/status_text.h"
#include "proxy/base/text.h"

#include <stdio.h>
#include <string.h>

#define EXIT_FAILED 1
#define EXIT_USAGE 2
#define ANSWER_MAX_BYTES ((size_t)64 * 1024 * 1024)

static const char usage[] =
    "usage: sluiced [run] -c FILE   serve by FILE; SIGHUP or an edit of FILE reloads it\n"
    "       sluiced check -c FILE   say whether FILE would be accepted\n"
    "       sluiced status PROC     show listeners, shares and endpoints\n"
    "       sluiced endpoints PROC  show one line for each endpoint\n"
    "       sluiced reload PROC     read the file again\n"
    "       sluiced drain PROC      finish the requests that run, and end\n"
    "       sluiced version\n"
    "PROC, the running process: -c FILE (at its admin.listen) or --admin ADDRESS:PORT\n";

/* What the verbs are about. */
struct target {
    const char *file;
    const char *admin; /* NULL: admin.listen of file */
};

static int load(const char *file, const struct sl_config **out)
{
    struct sl_config_errors errors = {0};

    if (sl_config_load(file, out, &errors) == SL_OK) {
        return 0;
    }
    sl_print_config_errors(&errors);
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

static int check(const struct target *t)
{
    const char *file = t->file;
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

/* Where the process listens: it may be running well by an older file than the one there now. */
static int find_admin(const struct target *t, struct sl_address *out)
{
    const struct sl_config *config;
    struct sl_error err;

    if (t->admin != NULL) {
        if (sl_value_address(sl_slice_of(t->admin), NULL, 1, out, &err) != SL_OK) {
            (void)fprintf(stderr, "--admin: %s\n", err.message);
            return EXIT_USAGE;
        }
        return 0;
    }
    int code = load(t->file, &config);
    if (code != 0) {
        (void)fprintf(stderr, "--admin ADDRESS:PORT asks a process whatever its file says now\n");
        return code;
    }
    *out = config->admin.listen;
    if (!config->admin.enabled) {
        (void)fprintf(stderr, "%s: admin.listen is not set, so nobody can be asked\n", t->file);
        code = EXIT_USAGE;
    }
    sl_config_unref(&config);
    return code;
}

/* Asks the running process; answer is initialised and the caller's to end. */
static int ask(const struct target *t, const char *method, const char *path, struct sl_text *answer)
{
    struct sl_address admin;
    struct sl_error err;
    uint16_t status = 0;
    int code = find_admin(t, &admin);

    if (code != 0) {
        return code;
    }
    if (sl_admin_ask(&admin, method, path, &status, answer, &err) != SL_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILED;
    }
    if (status != 200) {
        (void)fprintf(stderr, "%u: %.*s\n", status, (int)answer->len, answer->ptr);
        return EXIT_FAILED;
    }
    return 0;
}

static int show(const struct target *t, bool endpoints_only)
{
    struct sl_text json;
    struct sl_text text;
    struct sl_error err;

    sl_text_init(&json, ANSWER_MAX_BYTES);
    sl_text_init(&text, ANSWER_MAX_BYTES);
    int code = ask(t, "GET", "/status", &json);
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

static int status(const struct target *t)
{
    return show(t, false);
}

static int endpoints(const struct target *t)
{
    return show(t, true);
}

static int tell(const struct target *t, const char *path)
{
    struct sl_text answer;

    sl_text_init(&answer, ANSWER_MAX_BYTES);
    int code = ask(t, "POST", path, &answer);
    if (code == 0) {
        (void)fwrite(answer.ptr, 1, answer.len, stdout);
    }
    sl_text_fini(&answer);
    return code;
}

static int reload(const struct target *t)
{
    return tell(t, "/reload");
}

static int drain(const struct target *t)
{
    return tell(t, "/drain");
}

static int refuse(const char *why, const char *what)
{
    (void)fprintf(stderr, "sluiced: %s%s\n%s", why, what, usage);
    return EXIT_USAGE;
}

static int run(const struct target *t)
{
    return sl_process_run(t->file);
}

static const struct {
    const char *name;
    int (*run)(const struct target *t);
    bool asks; /* a running process */
} verbs[] = {
    {"run", run, false},      {"check", check, false},
    {"status", status, true}, {"endpoints", endpoints, true},
    {"reload", reload, true}, {"drain", drain, true},
};

static int run_verb(const char *verb, const struct target *t)
{
    for (size_t i = 0; i < SL_ARRAY_LEN(verbs); i++) {
        if (strcmp(verbs[i].name, verb) != 0) {
            continue;
        }
        if (t->admin != NULL && !verbs[i].asks) {
            return refuse("--admin is for verbs that ask a running process, not for ", verb);
        }
        if (t->file == NULL && t->admin == NULL) {
            return refuse("-c FILE is missing", "");
        }
        return verbs[i].run(t);
    }
    return refuse("unknown verb ", verb);
}

int sl_cli_main(int argc, char **argv)
{
    const char *verb = "run";
    struct target t = {0};
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
    for (; at + 1 < argc; at += 2) {
        if (strcmp(argv[at], "-c") == 0) {
            t.file = argv[at + 1];
        } else if (strcmp(argv[at], "--admin") == 0) {
            t.admin = argv[at + 1];
        } else {
            break;
        }
    }
    if (at < argc) {
        bool known = strcmp(argv[at], "-c") == 0 || strcmp(argv[at], "--admin") == 0;
        return refuse(known ? "a value is missing after " : "unknown argument ", argv[at]);
    }
    return run_verb(verb, &t);
}
