/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include "bench.h"

struct options opt = {.path = "/bytes/1024", .conns = 1};

static const char *const modes[] = {"closed", "open", "connect", "sse"};

static const struct {
    const char *name;
    uint64_t *to;
} numbers[] = {{"conns", &opt.conns}, {"active", &opt.active}, {"body", &opt.body},
               {"rate", &opt.rate},   {"turn", &opt.turn},     {"pid", &opt.pid}};

static const struct {
    const char *name;
    const char **to;
} texts[] = {{"addr", &opt.addr}, {"upstream", &opt.upstream}, {"path", &opt.path}};

static bool set_option(const char *name, const char *value)
{
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        if (strcmp(name, numbers[i].name) == 0) {
            *numbers[i].to = strtoull(value, NULL, 10);
            return true;
        }
    }
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        if (strcmp(name, texts[i].name) == 0) {
            *texts[i].to = value;
            return true;
        }
    }
    for (size_t i = 0; strcmp(name, "mode") == 0 && i < sizeof(modes) / sizeof(*modes); i++) {
        if (strcmp(value, modes[i]) == 0) {
            opt.mode = (enum mode)i;
            return true;
        }
    }
    return false;
}

void parse_options(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value) {
            refuse(argv[i]);
        }
        *value = '\0';
        if (!set_option(argv[i], value + 1)) {
            refuse(argv[i]);
        }
    }
    if (!opt.addr || !opt.conns || opt.conns > MAX_CONNS) {
        refuse("addr= is needed, and conns= up to 20000");
    }
    if ((opt.mode == OPEN && !opt.rate) || (opt.turn && !opt.upstream)) {
        refuse("mode=open needs rate=, and turn= needs upstream=");
    }
    if (!opt.active || opt.active > opt.conns) {
        opt.active = opt.conns;
    }
}

size_t format_request(char *to, size_t size)
{
    bool posts = opt.body || opt.mode == SSE;
    int n = snprintf(to, size,
                     "%s %s HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: load/1\r\nAccept: */*\r\n",
                     posts ? "POST" : "GET", opt.path);
    if (posts) {
        n += snprintf(to + n, size - (size_t)n,
                      "Content-Type: application/json\r\nContent-Length: %llu\r\n",
                      (unsigned long long)opt.body);
    }
    return (size_t)n + (size_t)snprintf(to + n, size - (size_t)n, "\r\n");
}
