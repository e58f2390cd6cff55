/* SPDX-License-Identifier: Apache-2.0 */
#include "merge.h"

#include "proxy/base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An endpoint that may be in the set: a sixth of struct sl_found, and sorted as it stands. */
struct candidate {
    const struct sl_kube_endpoint *endpoint;
    const struct sl_kube_labels *labels; /* of its pod; NULL: not known */
    uint16_t port;
    uint16_t weight;
    bool draining;
};

struct merge {
    const struct sl_merge_input *in;
    struct sl_merge_notes *notes;
    struct candidate *items;
    size_t n;
    size_t capacity;
    size_t families_n[2]; /* by is_ipv6, of those with a pod */
};

/* ---- Which endpoints, at which port */

/* The port of e's that the config means, NULL where there is none or no single one. own: room for
 * one that no object has. */
static const struct sl_kube_port *port_of(const struct sl_merge_input *in,
                                          const struct sl_kube_object *o,
                                          const struct sl_kube_endpoint *e,
                                          struct sl_kube_port *own)
{
    const struct sl_kube_port *ports = &o->ports[e->port_idx];

    if (in->port == 0 && in->port_name == NULL) {
        return e->ports_n == 1 ? ports : NULL;
    }
    for (size_t i = 0; i < e->ports_n; i++) {
        if (in->port != 0 ? ports[i].number == in->port : strcmp(ports[i].name, in->port_name) == 0)
        {
            return &ports[i];
        }
    }
    /* Whatever the slice says: a container may listen where no service leads. */
    *own = (struct sl_kube_port){.name = "", .number = in->port};
    return in->port != 0 ? own : NULL;
}

static bool is_spoken(struct merge *m, const struct sl_kube_object *o,
                      const struct sl_kube_port *port)
{
    if (port->protocol == SL_KUBE_HTTP || (port->protocol == SL_KUBE_HTTPS && m->in->has_tls)) {
        return true;
    }
    m->notes->refused = o->name;
    m->notes->refused_protocol = port->protocol;
    return false;
}

static int append(struct merge *m, const struct candidate *c)
{
    if (m->n == m->capacity) {
        size_t capacity = m->capacity > 0 ? m->capacity * 2 : 32;
        struct candidate *items = sl_realloc_array(m->items, capacity, sizeof(items[0]));
        if (items == NULL) {
            return SL_ENOMEM;
        }
        m->items = items;
        m->capacity = capacity;
    }
    m->items[m->n++] = *c;
    m->families_n[c->endpoint->is_ipv6] += c->endpoint->pod_uid[0] != '\0';
    return SL_OK;
}

/* The pod of e, NULL where it is not among pods. */
static const struct sl_kube_object *pod_of(const struct sl_store *pods,
                                           const struct sl_kube_endpoint *e)
{
    const struct sl_kube_object *pod =
        e->pod_key[0] != '\0' ? sl_store_get(pods, e->pod_key) : NULL;

    /* A StatefulSet gives the next pod the same name: the uid tells them apart. */
    if (pod != NULL && e->pod_uid[0] != '\0' && pod->uid[0] != '\0' &&
        strcmp(e->pod_uid, pod->uid) != 0)
    {
        return NULL;
    }
    return pod;
}

static int add_endpoint(struct merge *m, const struct sl_kube_object *o,
                        const struct sl_kube_endpoint *e, const struct sl_kube_object *pod)
{
    const struct sl_merge_input *in = m->in;
    struct candidate c = {.endpoint = e, .weight = 1, .draining = e->draining};
    struct sl_kube_port own;
    int rc = SL_OK;

    if (pod != NULL) {
        c.labels = &pod->labels;
        c.weight = pod->labels.weight;
        c.draining = c.draining || pod->labels.drains;
        m->notes->bad_weight = pod->labels.has_bad_weight ? pod->key : m->notes->bad_weight;
    }
    for (size_t i = 0; rc == SL_OK && i < in->ports_n; i++) {
        c.port = in->ports[i].number;
        rc = is_spoken(m, o, &in->ports[i]) ? append(m, &c) : SL_OK;
    }
    if (in->ports != NULL) {
        return rc;
    }
    const struct sl_kube_port *port = port_of(in, o, e, &own);
    if (port == NULL) {
        m->notes->portless = o->name;
        m->notes->portless_ports_n = e->ports_n;
        return SL_OK;
    }
    c.port = port->number;
    return is_spoken(m, o, port) ? append(m, &c) : SL_OK;
}

static bool has_family(enum sl_kube_family family, const struct sl_kube_endpoint *e)
{
    return family == SL_KUBE_FAMILY_ANY || (family == SL_KUBE_FAMILY_IPV6) == e->is_ipv6;
}

/* Objects that are pods say themselves what the pods of others say. */
static bool is_pod(const struct sl_kube_object *o)
{
    return o->endpoints_n > 0 && o->endpoints[0].pod_key == o->key;
}

static int add_object(struct merge *m, const struct sl_merge_part *part,
                      const struct sl_kube_object *o)
{
    int rc = SL_OK;

    if (o->is_fqdn) {
        m->notes->fqdn = o->name;
    }
    for (size_t i = 0; rc == SL_OK && i < o->endpoints_n; i++) {
        const struct sl_kube_endpoint *e = &o->endpoints[i];
        const struct sl_kube_object *pod = is_pod(o) ? o : NULL;

        if (part->pods != NULL) {
            pod = pod_of(part->pods, e);
            if (pod == NULL && !m->in->keeps_all) {
                continue;
            }
        }
        if (has_family(m->in->family, e)) {
            rc = add_endpoint(m, o, e, pod);
        }
    }
    return rc;
}

static int add_all(struct merge *m)
{
    int rc = SL_OK;

    for (size_t p = 0; p < m->in->parts_n; p++) {
        const struct sl_merge_part *part = &m->in->parts[p];
        for (size_t i = 0; rc == SL_OK && i < part->objects->n; i++) {
            rc = add_object(m, part, part->objects->items[i]);
        }
    }
    return rc;
}

/* ---- Dual stack: of a pod with addresses of both families, those of IPv4 */

static int compare_pods(const void *left, const void *right)
{
    const struct sl_kube_endpoint *a = ((const struct candidate *)left)->endpoint;
    const struct sl_kube_endpoint *b = ((const struct candidate *)right)->endpoint;
    int rc = strcmp(a->pod_uid, b->pod_uid);

    return rc != 0 ? rc : (int)a->is_ipv6 - (int)b->is_ipv6; /* IPv4 first */
}

static void drop_second_family(struct merge *m)
{
    size_t kept_n = 0;
    const struct sl_kube_endpoint *first = NULL; /* of the pod at hand */

    if (m->families_n[false] == 0 || m->families_n[true] == 0) {
        return;
    }
    qsort(m->items, m->n, sizeof(m->items[0]), compare_pods);
    for (size_t i = 0; i < m->n; i++) {
        const struct sl_kube_endpoint *e = m->items[i].endpoint;
        if (first == NULL || e->pod_uid[0] == '\0' || strcmp(first->pod_uid, e->pod_uid) != 0) {
            first = e;
        }
        if (e->is_ipv6 == first->is_ipv6) {
            m->items[kept_n++] = m->items[i];
        }
    }
    m->n = kept_n;
}

/* ---- Order, and one of each */

static int compare_identity(const struct candidate *a, const struct candidate *b)
{
    int rc = strcmp(a->endpoint->host, b->endpoint->host);

    if (rc == 0) {
        rc = (a->port > b->port) - (a->port < b->port);
    }
    return rc != 0 ? rc : strcmp(a->endpoint->pod_uid, b->endpoint->pod_uid);
}

/* Of one identity the one to keep comes first: an endpoint on its way from one slice to another may
 * be in both, in two states. The one with hints, as those come with the newer. */
static int compare(const void *left, const void *right)
{
    const struct candidate *a = left;
    const struct candidate *b = right;
    int rc = compare_identity(a, b);

    if (rc == 0) {
        rc = (int)a->draining - (int)b->draining;
    }
    if (rc == 0) {
        rc = (a->weight < b->weight) - (a->weight > b->weight);
    }
    return rc != 0 ? rc : strcmp(b->endpoint->hints, a->endpoint->hints);
}

static void sort(struct merge *m)
{
    size_t kept_n = 0;

    if (m->n == 0) {
        return;
    }
    qsort(m->items, m->n, sizeof(m->items[0]), compare);
    for (size_t i = 1; i < m->n; i++) {
        if (compare_identity(&m->items[kept_n], &m->items[i]) != 0) {
            m->items[++kept_n] = m->items[i];
        }
    }
    m->n = kept_n + 1;
}

/* ---- Zones. KEP-2433: all or nothing, as kube-proxy does */

static bool is_hinted(const struct sl_kube_endpoint *e, const char *zone)
{
    for (const char *h = e->hints; *h != '\0'; h += strlen(h) + 1) {
        if (strcmp(h, zone) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether each ready endpoint has hints, and one of them is for our zone. */
static bool has_zone(const struct merge *m)
{
    bool found = false;

    for (size_t i = 0; i < m->n; i++) {
        const struct candidate *c = &m->items[i];
        if (!c->draining && c->endpoint->hints[0] == '\0') {
            return false;
        }
        found = found || (!c->draining && is_hinted(c->endpoint, m->in->zone));
    }
    return found;
}

/* Draining ones stay: they are picked when no ready one is left, and hints are for ready ones. */
static void keep_zone(struct merge *m)
{
    size_t kept_n = 0;

    if (m->in->zone == NULL || !has_zone(m)) {
        return;
    }
    for (size_t i = 0; i < m->n; i++) {
        if (m->items[i].draining || is_hinted(m->items[i].endpoint, m->in->zone)) {
            m->items[kept_n++] = m->items[i];
        }
    }
    m->n = kept_n;
}

/* ---- The set */

static const char *version_of(const struct candidate *c)
{
    return c->labels != NULL ? c->labels->version : "";
}

static const char *model_of(const struct candidate *c)
{
    return c->labels != NULL ? c->labels->model : "";
}

static const char *pod_name_of(const struct candidate *c)
{
    const char *slash = strchr(c->endpoint->pod_key, '/');
    return slash != NULL ? slash + 1 : "";
}

static bool is_same(const struct candidate *c, const struct sl_found *f)
{
    return c->port == f->address.port && c->weight == f->weight && c->draining == f->draining &&
           strcmp(c->endpoint->host, f->address.host) == 0 &&
           strcmp(c->endpoint->pod_uid, f->pod_uid) == 0 &&
           strcmp(pod_name_of(c), f->pod_name) == 0 && strcmp(c->endpoint->zone, f->zone) == 0 &&
           strcmp(version_of(c), f->version) == 0 && strcmp(model_of(c), f->model) == 0;
}

static bool is_last(const struct merge *m, const struct sl_found *last, size_t last_n)
{
    if (m->n != last_n) {
        return false;
    }
    for (size_t i = 0; i < last_n; i++) {
        if (!is_same(&m->items[i], &last[i])) {
            return false;
        }
    }
    return true;
}

/* to is zeroed, and from fits: decode saw to it. */
static void copy_text(char *to, const char *from)
{
    memcpy(to, from, strlen(from));
}

static struct sl_found *write_set(const struct merge *m)
{
    struct sl_found *found = sl_alloc_array(m->n > 0 ? m->n : 1, sizeof(found[0]));

    for (size_t i = 0; found != NULL && i < m->n; i++) {
        const struct candidate *c = &m->items[i];
        struct sl_found *f = &found[i];

        copy_text(f->address.host, c->endpoint->host);
        copy_text(f->pod_uid, c->endpoint->pod_uid);
        copy_text(f->pod_name, pod_name_of(c));
        copy_text(f->zone, c->endpoint->zone);
        copy_text(f->version, version_of(c));
        copy_text(f->model, model_of(c));
        f->address.port = c->port;
        f->weight = c->weight;
        f->draining = c->draining;
    }
    return found;
}

int sl_merge(const struct sl_merge_input *in, const struct sl_found *last, size_t last_n,
             struct sl_found **items, size_t *n, bool *same, struct sl_merge_notes *notes)
{
    struct merge m = {.in = in, .notes = notes};
    struct sl_found *found = NULL;
    bool is_old = false;

    *notes = (struct sl_merge_notes){0};
    int rc = add_all(&m);
    if (rc == SL_OK) {
        drop_second_family(&m);
        sort(&m);
        keep_zone(&m);
        is_old = last != NULL && is_last(&m, last, last_n);
        found = is_old ? NULL : write_set(&m);
        rc = is_old || found != NULL ? SL_OK : SL_ENOMEM;
    }
    if (rc == SL_OK) {
        *items = found;
        *n = is_old ? 0 : m.n;
        *same = is_old;
    }
    sl_free(m.items);
    return rc;
}
