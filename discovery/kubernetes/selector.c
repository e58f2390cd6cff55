/* SPDX-License-Identifier: Apache-2.0 */
/*
 * selector: the grammar of label selectors, so that a config is refused where it is wrong, and not
 * by an API server after the start. The server alone matches: there is one reading of a selector.
 *
 * Source: Kubernetes, "Labels and Selectors"; a key is [DNS subdomain "/"] name, a name and a value
 *         have at most 63 of [A-Za-z0-9._-] and begin and end with a letter or digit
 */
#include <sluiced/discovery.h>
#include <sluiced/slice.h>

#define NAME_MAX_BYTES 63
#define PREFIX_MAX_BYTES 253

struct cursor {
    const char *text;
    size_t len;
    size_t at;
    const struct sl_pos *pos;
    struct sl_error *err;
};

static int refuse(const struct cursor *c, size_t at, const char *expected)
{
    struct sl_pos pos = c->pos != NULL ? *c->pos : (struct sl_pos){0};
    int found_n = c->len - at < 24 ? (int)(c->len - at) : 24;

    pos.column += (uint32_t)at;
    if (at == c->len) {
        return sl_error_set(c->err, SL_ECONFIG, c->pos != NULL ? &pos : NULL,
                            "byte %zu of the label selector: expected %s, found its end; write "
                            "app=llama, version in (v1,v2), tier!=batch, gpu or !spot",
                            at, expected);
    }
    return sl_error_set(c->err, SL_ECONFIG, c->pos != NULL ? &pos : NULL,
                        "byte %zu of the label selector: expected %s, found \"%.*s\"; write "
                        "app=llama, version in (v1,v2), tier!=batch, gpu or !spot",
                        at, expected, found_n, c->text + at);
}

static bool is_alnum(char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9');
}

static bool is_word(char ch)
{
    return is_alnum(ch) || ch == '-' || ch == '_' || ch == '.' || ch == '/';
}

static char look(const struct cursor *c)
{
    return c->at < c->len ? c->text[c->at] : '\0';
}

static void skip_space(struct cursor *c)
{
    while (look(c) == ' ' || look(c) == '\t') {
        c->at++;
    }
}

static bool accept(struct cursor *c, char ch)
{
    if (look(c) == ch) {
        c->at++;
        return true;
    }
    return false;
}

/* The word at the cursor, which moves behind it. */
static struct sl_slice take_word(struct cursor *c)
{
    size_t start = c->at;

    while (is_word(look(c))) {
        c->at++;
    }
    return (struct sl_slice){c->text + start, c->at - start};
}

/* at: where s begins. A value may be empty, a name of a key may not: who calls has looked. */
static int check_name(const struct cursor *c, size_t at, struct sl_slice s)
{
    if (s.len > NAME_MAX_BYTES) {
        return refuse(c, at, "at most 63 characters");
    }
    for (size_t i = 0; i < s.len; i++) {
        bool edge = i == 0 || i == s.len - 1;
        if (s.ptr[i] == '/' || (edge && !is_alnum(s.ptr[i]))) {
            return refuse(c, at + i, edge ? "a letter or digit" : "no second '/'");
        }
    }
    return SL_OK;
}

/* DNS subdomain: labels of [a-z0-9-] that begin and end with a letter or digit. */
static int check_prefix(const struct cursor *c, size_t at, struct sl_slice s)
{
    if (s.len == 0 || s.len > PREFIX_MAX_BYTES) {
        return refuse(c, at, "1 to 253 characters before '/'");
    }
    for (size_t i = 0; i < s.len; i++) {
        char ch = s.ptr[i];
        bool inner = i > 0 && i + 1 < s.len && s.ptr[i - 1] != '.' && s.ptr[i + 1] != '.';

        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') ||
              ((ch == '-' || ch == '.') && inner)))
        {
            return refuse(c, at + i, "a domain in lower case before '/'");
        }
    }
    return SL_OK;
}

static int parse_key(struct cursor *c)
{
    size_t at = c->at;
    struct sl_slice word = take_word(c);
    const char *slash = word.len > 0 ? memchr(word.ptr, '/', word.len) : NULL;

    if (word.len == 0) {
        return refuse(c, at, "the key of a label");
    }
    if (slash == NULL) {
        return check_name(c, at, word);
    }
    size_t prefix_len = (size_t)(slash - word.ptr);
    struct sl_slice name = {slash + 1, word.len - prefix_len - 1};
    int rc = check_prefix(c, at, (struct sl_slice){word.ptr, prefix_len});
    if (rc == SL_OK && name.len == 0) {
        rc = refuse(c, c->at, "a name after '/'");
    }
    return rc == SL_OK ? check_name(c, at + prefix_len + 1, name) : rc;
}

static int parse_value(struct cursor *c)
{
    skip_space(c);
    size_t at = c->at;
    return check_name(c, at, take_word(c));
}

static int parse_set(struct cursor *c)
{
    int rc = SL_OK;

    skip_space(c);
    if (!accept(c, '(')) {
        return refuse(c, c->at, "'(' after in or notin");
    }
    do {
        rc = parse_value(c);
        skip_space(c);
    } while (rc == SL_OK && accept(c, ','));
    if (rc == SL_OK && !accept(c, ')')) {
        rc = refuse(c, c->at, "',' or ')'");
    }
    return rc;
}

/* What may follow a key. Nothing: the label must be there. */
static int parse_operator(struct cursor *c)
{
    size_t before = c->at;

    skip_space(c);
    size_t at = c->at;
    if (accept(c, '!')) {
        return accept(c, '=') ? parse_value(c) : refuse(c, c->at, "'=' after '!'");
    }
    if (accept(c, '=')) {
        (void)accept(c, '='); /* both forms mean the same */
        return parse_value(c);
    }
    struct sl_slice word = take_word(c);
    if (word.len == 0) {
        return SL_OK;
    }
    if (at > before && (sl_slice_eq(word, SL_SLICE("in")) || sl_slice_eq(word, SL_SLICE("notin"))))
    {
        return parse_set(c);
    }
    return refuse(c, at, "=, !=, in, notin or a comma");
}

static int parse_requirement(struct cursor *c)
{
    skip_space(c);
    if (accept(c, '!')) {
        skip_space(c);
        return parse_key(c);
    }
    int rc = parse_key(c);
    return rc == SL_OK ? parse_operator(c) : rc;
}

int sl_selector_check(const char *text, const struct sl_pos *pos, struct sl_error *err)
{
    struct cursor c = {.text = text, .len = strlen(text), .pos = pos, .err = err};
    int rc;

    do {
        rc = parse_requirement(&c);
        skip_space(&c);
    } while (rc == SL_OK && accept(&c, ','));
    if (rc == SL_OK && c.at < c.len) {
        rc = refuse(&c, c.at, "a comma or the end");
    }
    return rc;
}
