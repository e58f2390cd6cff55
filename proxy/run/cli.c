/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <sluiced/version.h>

#include "cli_ask.h"
#include "process.h"

#include "config/suggest.h"
#include "proxy/admin/status_text.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

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

static int version(const struct sl_cli *t)
{
    (void)t;
    (void)printf("sluiced %s\n", SL_VERSION);
    return 0;
}

enum {
    TAKES_FILE = 1,
    TAKES_ADMIN = 2, /* asks a running process, which either of both finds */
    TAKES_DIFF = 4,
    TAKES_ENDPOINT = 8, /* and --wait, --undo */
};

static const struct verb {
    const char *name;
    int (*run)(const struct sl_cli *t);
    unsigned takes;
    bool needs_file;  /* --admin alone will not do */
    const char *help; /* lines */
} verbs[] = {
    {"run", run, TAKES_FILE, true,
     "sluiced [run] -c FILE   serve by FILE; SIGHUP or an edit of FILE reloads it\n"},
    {"check", check, TAKES_FILE | TAKES_ADMIN | TAKES_DIFF, true,
     "sluiced check -c FILE   say whether FILE would be accepted\n"
     "        --diff          and what it would change in the running process, which is\n"
     "                        asked at FILE's admin.listen, or at --admin ADDRESS:PORT\n"},
    {"status", status, TAKES_FILE | TAKES_ADMIN, false,
     "sluiced status PROC     show listeners, shares and endpoints\n"},
    {"endpoints", endpoints, TAKES_FILE | TAKES_ADMIN, false,
     "sluiced endpoints PROC  show one line for each endpoint\n"},
    {"reload", sl_cli_reload, TAKES_FILE | TAKES_ADMIN, false,
     "sluiced reload PROC     read the file again, and wait until it is in force\n"},
    {"drain", sl_cli_drain, TAKES_FILE | TAKES_ADMIN | TAKES_ENDPOINT, false,
     "sluiced drain PROC      finish the requests that run, and end\n"
     "        --wait          and show how far that is, until it has ended\n"
     "sluiced drain ENDPOINT PROC\n"
     "                        give it, an address or the name of a pod, no new requests\n"
     "        --wait          and return when the last one there has ended\n"
     "        --undo          give it new requests again\n"},
    {"version", version, 0, false, "sluiced version         print the version\n"},
};

static const struct flag {
    const char *name;
    unsigned needs;      /* what the verb must take */
    size_t value_offset; /* of a const char * in struct sl_cli; SIZE_MAX: it is a switch */
    size_t on_offset;    /* of a bool */
} flags[] = {
    {"-c", TAKES_FILE, offsetof(struct sl_cli, file), SIZE_MAX},
    {"--admin", TAKES_ADMIN, offsetof(struct sl_cli, admin), SIZE_MAX},
    {"--diff", TAKES_DIFF, SIZE_MAX, offsetof(struct sl_cli, diff)},
    {"--wait", TAKES_ENDPOINT, SIZE_MAX, offsetof(struct sl_cli, wait)},
    {"--undo", TAKES_ENDPOINT, SIZE_MAX, offsetof(struct sl_cli, undo)},
};

/* Of one verb; NULL: of all. */
static void print_usage(FILE *to, const struct verb *only)
{
    const char *before = "usage: ";

    for (size_t i = 0; i < SL_ARRAY_LEN(verbs); i++) {
        if (only != NULL && only != &verbs[i]) {
            continue;
        }
        for (const char *line = verbs[i].help; *line != '\0'; before = "       ") {
            int len = (int)strcspn(line, "\n");

            (void)fprintf(to, "%s%.*s\n", before, len, line);
            line += len + 1;
        }
    }
    if (only == NULL) {
        (void)fputs(
            "       sluiced help VERB       show the usage of one verb, as VERB --help does\n", to);
    }
    if (only == NULL || ((only->takes & TAKES_ADMIN) != 0 && !only->needs_file)) {
        (void)fputs(
            "PROC, the running process: -c FILE (at its admin.listen) or --admin "
            "ADDRESS:PORT\n",
            to);
    }
    (void)fputs("Exit code: 0 done, 1 failed, 2 wrong usage or configuration\n", to);
}

static int refuse(const struct verb *verb, const char *why, const char *what)
{
    (void)fprintf(stderr, "sluiced: %s%s\n", why, what);
    print_usage(stderr, verb);
    return SL_EXIT_USAGE;
}

static int help(const struct verb *verb)
{
    print_usage(stdout, verb);
    return 0;
}

static bool asks_for_help(const char *arg)
{
    return strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0;
}

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < SL_ARRAY_LEN(verbs); i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

static int refuse_verb(const char *name)
{
    struct sl_suggestion meant;

    sl_suggest_init(&meant, sl_slice_of(name));
    for (size_t i = 0; i < SL_ARRAY_LEN(verbs); i++) {
        sl_suggest_offer(&meant, sl_slice_of(verbs[i].name));
    }
    if (meant.best.len == 0) {
        return refuse(NULL, "unknown verb ", name);
    }
    (void)fprintf(stderr, "sluiced: unknown verb %s; did you mean %.*s?\n", name,
                  SL_SLICE_ARG(meant.best));
    return SL_EXIT_USAGE;
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

/* What spans several arguments. */
static int check_flags(const struct verb *verb, const struct sl_cli *t)
{
    bool asks = (verb->takes & TAKES_ADMIN) != 0;

    if (verb->needs_file && t->file == NULL) {
        return refuse(verb, "-c FILE is missing", "");
    }
    if (asks && t->file == NULL && t->admin == NULL) {
        return refuse(verb, "-c FILE or --admin ADDRESS:PORT is missing", "");
    }
    if (asks && !verb->needs_file && t->file != NULL && t->admin != NULL) {
        return refuse(verb, "-c FILE and --admin ADDRESS:PORT: give one of them", "");
    }
    if (asks && verb->needs_file && t->admin != NULL && !t->diff) {
        return refuse(verb, "--admin is for --diff, which asks a running process", "");
    }
    return SL_CLI_GOES_ON;
}

/* An exit code, or SL_CLI_GOES_ON. */
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
        if (asks_for_help(argv[at])) {
            return help(verb);
        }
        if (f == NULL) {
            return refuse(verb, "unknown argument ", argv[at]);
        }
        if ((verb->takes & f->needs) != f->needs) {
            return refuse(verb, f->name, " is for another verb");
        }
        if (f->value_offset == SIZE_MAX) {
            *(bool *)((char *)t + f->on_offset) = true;
        } else if (at + 1 < argc) {
            memcpy((char *)t + f->value_offset, (const void *)&argv[++at], sizeof(char *));
        } else {
            return refuse(verb, "a value is missing after ", argv[at]);
        }
    }
    return check_flags(verb, t);
}

static int run_verb(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    struct sl_cli t = {0};
    int at = 2;

    if (argc < 2) {
        return refuse(NULL, "-c FILE is missing", "");
    }
    if (strcmp(name, "help") == 0 || asks_for_help(name)) {
        if (argc == 2) {
            return help(NULL);
        }
        return find_verb(argv[2]) != NULL ? help(find_verb(argv[2])) : refuse_verb(argv[2]);
    }
    if (strcmp(name, "--version") == 0) {
        name = "version";
    } else if (name[0] == '-') {
        name = "run";
        at = 1;
    }
    const struct verb *verb = find_verb(name);
    if (verb == NULL) {
        return refuse_verb(name);
    }
    int code = read_flags(verb, argc, argv, at, &t);
    return code == SL_CLI_GOES_ON ? verb->run(&t) : code;
}

int sl_cli_main(int argc, char **argv)
{
    int code = run_verb(argc, argv);

    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        (void)fputs("sluiced: the output could not be written\n", stderr);
        code = code == 0 ? SL_EXIT_FAILED : code;
    }
    return code;
}
