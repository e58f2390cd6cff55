/* SPDX-License-Identifier: Apache-2.0 */
#include "yaml_node.h"

#include "hash.h"

#include <stdbool.h>
#include <stdio.h>

const struct sl_yaml_node *sl_yaml_find(const struct sl_yaml_node *map, struct sl_slice key)
{
    if (map == NULL || map->kind != SL_YAML_MAP) {
        return NULL;
    }
    uint64_t hash = sl_hash(key, 0);

    for (const struct sl_yaml_node *n = map->first; n != NULL; n = n->next) {
        if (n->key_hash == hash && sl_slice_eq(n->key, key)) {
            return n;
        }
    }
    return NULL;
}

/* Appends at used and returns how many bytes are used then; the last one stays for the end. */
static size_t append(char *buf, size_t used, const char *separator, struct sl_slice text)
{
    int n = snprintf(buf + used, SL_YAML_PATH_BYTES - used, "%s" SL_SLICE_FMT, separator,
                     SL_SLICE_ARG(text));

    if (n < 0) {
        return used;
    }
    size_t left = SL_YAML_PATH_BYTES - 1 - used;
    return used + ((size_t)n < left ? (size_t)n : left);
}

/* Recursion: the reader bounds the depth. */
static size_t append_path(const struct sl_yaml_node *node, char *buf)
{
    char idx[16];

    if (node == NULL || node->parent == NULL) {
        return 0;
    }
    size_t used = append_path(node->parent, buf);
    if (node->parent->kind == SL_YAML_MAP) {
        return append(buf, used, used > 0 ? "." : "", node->key);
    }
    (void)snprintf(idx, sizeof(idx), "[%u]", node->idx);
    return append(buf, used, "", sl_slice_of(idx));
}

void sl_yaml_path(const struct sl_yaml_node *node, const char *name, char *buf)
{
    buf[0] = '\0';
    size_t used = append_path(node, buf);

    if (name != NULL) {
        used = append(buf, used, used > 0 ? "." : "", sl_slice_of(name));
    }
    if (used == 0) {
        (void)append(buf, 0, "", SL_SLICE("yaml"));
    }
}

int sl_yaml_shown_n(struct sl_slice text)
{
    if (text.len <= SL_YAML_SHOWN_BYTES) {
        return (int)text.len;
    }
    int n = SL_YAML_SHOWN_BYTES;

    while (n > 0 && ((unsigned char)text.ptr[n] & 0xc0) == 0x80) {
        n--; /* the byte behind the cut belongs to the character before it */
    }
    return n;
}

const char *sl_yaml_found(const struct sl_yaml_node *node, char *buf)
{
    bool is_list = node->kind == SL_YAML_LIST;

    if (node->kind == SL_YAML_TEXT) {
        if (node->text.len == 0) {
            return "nothing";
        }
        (void)snprintf(buf, SL_YAML_FOUND_BYTES, SL_YAML_SHOWN_FMT, SL_YAML_SHOWN_ARG(node->text));
    } else if (node->children_n == 0) {
        return is_list ? "an empty list" : "an empty map";
    } else {
        (void)snprintf(buf, SL_YAML_FOUND_BYTES, "a %s of %u", is_list ? "list" : "map",
                       node->children_n);
    }
    return buf;
}
