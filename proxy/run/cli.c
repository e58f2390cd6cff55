/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <sluiced/version.h>

#include "cli_ask.h"
#include "process.h"

#include "proxy/admin/status_text.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: sluiced [run] -c FILE   serve by FILE; SIGHUP or an edit of FILE reloads it\n"
    "       sluiced check -c FILE   say whether FILE would be accepted\n"
    "               --diff          and what it would change in the running process\n"
    "       sluiced status PROC     show listeners, shares and endpoints\n"
    "       sluiced endpoints PROC  show one line for each endpoint\n"
    "       sluiced reload PROC     read the file again, and wait until it is in force\n"
    "       sluiced drain PROC      finish the requests that run, and end\n"
    "               --wait          and show how far it is until it is done\n"
    "       sluiced drain ENDPOINT PROC\n"
    "                               give it (an address, or a pod) no new requests\n"
    "               --wait          until the last one there has ended\n"
    "               --undo          but do so again\n"
    "       sluiced version\n"
    "PROC, the running process: -c FILE (at its admin.listen) or --admin ADDRESS:PORT\n";

static int refuse(const char *why, const char *what)
{
    (void)fprintf(stderr, "sluiced: %s%s\n%s", why, what, usage);
    return SL_EXIT_USAGE;
}

int sl_cli_load(const char *file, const struct sl_config **out)
{
    struct sl_config_errors errors = {0};

    if (sl_config_load(file, out, &errors) == SL_OK) {
        return 0;
    }
    sl_print_config_errors(&errors);
    return SL_EXIT_USAGE;
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
            code = SL_EXIT_USAGE;
        }
        sl_tls_context_free(c);
    }
    for (size_t i = 0; i < config->pools_n; i++) {
        struct sl_tls_context *c = NULL;
        const struct sl_pool_config *p = &config->pools[i];
        if (p->tls != NULL && sl_tls_client_context_new(p->name, p->tls, &c, &err) != SL_OK) {
            (void)fprintf(stderr, "%s:%u:%u: %s\n", file, p->pos.line, p->pos.column, err.message);
            code = SL_EXIT_USAGE;
        }
        sl_tls_context_free(c);
    }
    return code;
}

static int check(const struct sl_cli *t)
{
    const char *file = t->file;
    const struct sl_config *config;

    if (t->admin != NULL && !t->diff) {
        return refuse("--admin is for verbs that ask a running process, not for ", "check");
    }
    int code = sl_cli_load(file, &config);

    if (code == 0) {
        code = check_tls(config, file);
        if (code == 0 && t->diff) {
            code = sl_cli_diff(t, config);
        } else if (code == 0) {
            (void)printf("%s: ok: %zu listeners, %zu pools\n", file, config->listeners_n,
                         config->pools_n);
        }
        sl_config_unref(&config);
    }
    return code;
}

static int show(const struct sl_cli *t, bool endpoints_only)
{
    struct sl_text json;
    struct sl_text text;
    struct sl_error err;

    sl_text_init(&json, SL_ANSWER_MAX_BYTES);
    sl_text_init(&text, SL_ANSWER_MAX_BYTES);
    int code = sl_cli_get(t, "/status", &json);
    if (code == 0) {
        int rc = endpoints_only ? sl_status_text_write_endpoints(sl_text_slice(&json), &text, &err)
                                : sl_status_text_write(sl_text_slice(&json), &text, &err);
        if (rc == SL_OK) {
            (void)fwrite(text.ptr, 1, text.len, stdout);
        } else {
            (void)fprintf(stderr, "%s\n", err.message);
            code = SL_EXIT_FAILED;
        }
    }
    sl_text_fini(&json);
    sl_text_fini(&text);
    return code;
}

static int status(const struct sl_cli *t)
{
    return show(t, false);
}

static int endpoints(const struct sl_cli *t)
{
    return show(t, true);
}

static int run(const struct sl_cli *t)
{
    return sl_process_run(t->file);
}

enum {
    TAKES_ADMIN = 1, /* asks a running process */
    TAKES_DIFF = 2,
    TAKES_ENDPOINT = 4, /* and --wait, --undo */
};

static const struct verb {
    const char *name;
    int (*run)(const struct sl_cli *t);
    unsigned takes;
    bool needs_file; /* --admin alone will not do */
} verbs[] = {
    {"run", run, 0, true},
    {"check", check, TAKES_ADMIN | TAKES_DIFF, true},
    {"status", status, TAKES_ADMIN, false},
    {"endpoints", endpoints, TAKES_ADMIN, false},
    {"reload", sl_cli_reload, TAKES_ADMIN, false},
    {"drain", sl_cli_drain, TAKES_ADMIN | TAKES_ENDPOINT, false},
};

static const struct flag {
    const char *name;
    unsigned needs;      /* what the verb must take */
    size_t value_offset; /* of a const char * in struct sl_cli; SIZE_MAX: it is a switch */
    size_t on_offset;    /* of a bool */
} flags[] = {
    {"-c", 0, offsetof(struct sl_cli, file), SIZE_MAX},
    {"--admin", TAKES_ADMIN, offsetof(struct sl_cli, admin), SIZE_MAX},
    {"--diff", TAKES_DIFF, SIZE_MAX, offsetof(struct sl_cli, diff)},
    {"--wait", TAKES_ENDPOINT, SIZE_MAX, offsetof(struct sl_cli, wait)},
    {"--undo", TAKES_ENDPOINT, SIZE_MAX, offsetof(struct sl_cli, undo)},
};

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < SL_ARRAY_LEN(verbs); i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

static const struct flag *find_flag(const char *name)
{
    for (size_t i = 0; i < SL_ARRAY_LEN(flags); i++) {
        if (strcmp(flags[i].name, name) == 0) {
            return &flags[i];
        }
    }
    return NULL;
}

static int read_flags(const struct verb *verb, int argc, char **argv, int at, struct sl_cli *t)
{
    for (; at < argc; at++) {
        const struct flag *f = find_flag(argv[at]);

        if (f == NULL && (verb->takes & TAKES_ENDPOINT) != 0 && argv[at][0] != '-' &&
            t->endpoint == NULL)
        {
            t->endpoint = argv[at];
            continue;
        }
        if (f == NULL) {
            return refuse("unknown argument ", argv[at]);
        }
        if ((verb->takes & f->needs) != f->needs) {
            (void)fprintf(stderr, "sluiced: %s is not for the verb %s\n%s", f->name, verb->name,
                          usage);
            return SL_EXIT_USAGE;
        }
        if (f->value_offset == SIZE_MAX) {
            *(bool *)((char *)t + f->on_offset) = true;
        } else if (at + 1 < argc) {
            memcpy((char *)t + f->value_offset, (const void *)&argv[++at], sizeof(char *));
        } else {
            return refuse("a value is missing after ", argv[at]);
        }
    }
    return 0;
}

int sl_cli_main(int argc, char **argv)
{
    const char *name = "run";
    struct sl_cli t = {0};
    int at = 1;

    if (at < argc && argv[at][0] != '-') {
        name = argv[at++];
    }
    if (at < argc && (strcmp(argv[at], "-h") == 0 || strcmp(argv[at], "--help") == 0)) {
        (void)fputs(usage, stdout);
        return 0;
    }
    if (strcmp(name, "version") == 0 || (at < argc && strcmp(argv[at], "--version") == 0)) {
        (void)printf("sluiced %s\n", SL_VERSION);
        return 0;
    }
    const struct verb *verb = find_verb(name);
    if (verb == NULL) {
        return refuse("unknown verb ", name);
    }
    int code = read_flags(verb, argc, argv, at, &t);
    if (code != 0) {
        return code;
    }
    if (t.file == NULL && (verb->needs_file || t.admin == NULL)) {
        return refuse("-c FILE is missing", "");
    }
    return verb->run(&t);
}
