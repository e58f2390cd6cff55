/* SPDX-License-Identifier: Apache-2.0 */
#include "discovery/kubernetes/kubeconfig.h"
#include "proxy/base/alloc.h"
#include "proxy/io/fetch.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];
static char file[96];

static int setup(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/sl-kubeconfig-XXXXXX");
    assert_non_null(mkdtemp(dir));
    (void)snprintf(file, sizeof(file), "%s/config", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)unlink(file); /* not every test left one */
    return rmdir(dir);
}

static void write_file(const char *text)
{
    FILE *f = fopen(file, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static bool allow_insecure;

static int load(const char *context, struct sl_kube_access **out, struct sl_error *err)
{
    const struct sl_config config = {.kubernetes = {.kubeconfig = file,
                                                    .context = context,
                                                    .allow_insecure_tls = allow_insecure}};
    return sl_kube_access_load(&config, out, err);
}

static void assert_pem(const struct sl_kube_pem *pem, const char *want)
{
    assert_int_equal(pem->len, strlen(want));
    assert_memory_equal(pem->ptr, want, pem->len);
}

static const char whole[] =
    "apiVersion: v1\n"
    "kind: Config\n"
    "current-context: files\n"
    "clusters:\n"
    "- name: plain\n"
    "  cluster: { server: 'https://10.0.0.1:6443/', certificate-authority: ca.crt }\n"
    "- name: data\n"
    "  cluster:\n"
    "    server: https://[fd00::1]:6443/prefix\n"
    "    insecure-skip-tls-verify: false\n"
    "    certificate-authority: /not/used\n"
    "    certificate-authority-data: aGVsbG8=\n"
    "users:\n"
    "- { name: files, user: { client-certificate: /etc/u.crt, client-key: sub/u.key } }\n"
    "- name: data\n"
    "  user: { client-certificate-data: YQ==, client-key-data: YWJj, token: t0k3n, exec: null }\n"
    "- { name: token, user: { tokenFile: token, token: ignored } }\n"
    "contexts:\n"
    "- { name: files, context: { cluster: plain, user: files } }\n"
    "- { name: data, context: { cluster: data, user: data, namespace: prod } }\n"
    "- { name: token, context: { cluster: plain, user: token } }\n"
    "- { name: nobody, context: { cluster: plain } }\n";

static void the_current_context_is_read_with_paths_from_its_folder(void **state)
{
    struct sl_kube_access *a = NULL;
    struct sl_error err = {0};
    char path[128];
    (void)state;

    write_file(whole);
    int rc = load(NULL, &a, &err);
    check(rc == SL_OK, "%d: %s", rc, err.message);
    assert_string_equal(a->server, "https://10.0.0.1:6443");
    assert_string_equal(a->namespace_, "default");
    (void)snprintf(path, sizeof(path), "%s/ca.crt", dir);
    assert_string_equal(a->ca_file, path);
    assert_string_equal(a->cert_file, "/etc/u.crt");
    (void)snprintf(path, sizeof(path), "%s/sub/u.key", dir);
    assert_string_equal(a->key_file, path);
    assert_null(a->token);
    assert_null(a->token_file);
    sl_kube_access_free(a);
}

static void data_goes_before_files_and_a_context_may_be_named(void **state)
{
    struct sl_kube_access *a = NULL;
    struct sl_error err = {0};
    static char header[SL_KUBE_HEADER_BYTES];
    (void)state;

    write_file(whole);
    int rc = load("data", &a, &err);
    check(rc == SL_OK, "%d: %s", rc, err.message);
    assert_string_equal(a->server, "https://[fd00::1]:6443/prefix");
    assert_string_equal(a->namespace_, "prod");
    assert_null(a->ca_file);
    assert_pem(&a->ca_pem, "hello");
    assert_pem(&a->cert_pem, "a");
    assert_pem(&a->key_pem, "abc");
    assert_int_equal(sl_kube_access_header(a, header, &err), SL_OK);
    assert_string_equal(header, "Authorization: Bearer t0k3n");
    sl_kube_access_free(a);

    assert_int_equal(load("nobody", &a, &err), SL_OK);
    assert_int_equal(sl_kube_access_header(a, header, &err), SL_OK);
    assert_string_equal(header, "");
    sl_kube_access_free(a);

    assert_int_equal(load("token", &a, &err), SL_OK);
    assert_null(a->token); /* the file goes before it */
    assert_non_null(strstr(a->token_file, "/token"));
    sl_kube_access_free(a);
}

#define HEAD "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n"
#define CLUSTER "clusters: [{name: k, cluster: {server: 'https://h:1'}}]\n"

static void what_we_do_not_do_is_refused_where_it_stands(void **state)
{
    static const struct {
        const char *text;
        uint32_t line;
        const char *key;
        const char *message;
    } rows[] = {
        {"[", 2, "", "expected YAML"},
        {"", 1, "current-context", "expected a context"},
        {"a: b\n", 1, "current-context", "expected a context"},
        {"current-context: c\n", 1, "contexts", "named \"c\", found none"},
        {HEAD, 1, "clusters", "named \"k\", found none"},
        {HEAD CLUSTER, 1, "users", "named \"u\", found none"},
        {HEAD "clusters: [{name: k, cluster: {}}]\n", 3, "server", "found nothing"},
        {HEAD "clusters: [{name: k, cluster: {server: h}}]\n", 3, "server", "found \"h\""},
        {HEAD "clusters: [{name: k, cluster: {server: 'http://h'}}]\n", 3, "server", "plain http"},
        {HEAD "clusters: [{name: k, cluster: {server: 'https://u@h'}}]\n", 3, "server",
         "without user"},
        {HEAD "clusters: [{name: k, cluster: {server: 'https://'}}]\n", 3, "server", "a host"},
        {HEAD "clusters:\n- name: k\n  cluster:\n    server: https://h\n"
              "    insecure-skip-tls-verify: true\n",
         7, "insecure-skip-tls-verify", "kubernetes.allow_insecure_tls: true"},
        {HEAD
         "clusters: [{name: k, cluster: {server: 'https://h', insecure-skip-tls-verify: y}}]\n",
         3, "insecure-skip-tls-verify", "expected true or false"},
        {HEAD "clusters: [{name: k, cluster: {server: 'https://h', disable-compression: 1}}]\n", 3,
         "disable-compression", "expected true or false"},
        {HEAD "clusters: [{name: k, cluster: {server: 'https://h', tls-server-name: 'a/b'}}]\n", 3,
         "tls-server-name", "expected a name"},
        {HEAD "clusters: [{name: k, cluster: {server: 'https://h', tls-server-name: '[::1]'}}]\n",
         3, "tls-server-name", "expected a name"},
        {HEAD "clusters: [{name: k, cluster: {server: 'https://h', proxy-url: 'http://p'}}]\n", 3,
         "proxy-url", "not supported"},
        {HEAD "clusters: [{name: k, cluster: {server: 'https://h',"
              " certificate-authority-data: 'a=b='}}]\n",
         3, "certificate-authority-data", "base64"},
        {HEAD CLUSTER "users: [{name: u, user: {exec: {command: aws}}}]\n", 4, "exec",
         "not supported; no program is run"},
        {HEAD CLUSTER "users: [{name: u, user: {auth-provider: {name: gcp}}}]\n", 4,
         "auth-provider", "not supported"},
        {HEAD CLUSTER "users: [{name: u, user: {username: x, password: y}}]\n", 4, "username",
         "not supported"},
        {HEAD CLUSTER "users: [{name: u, user: {as: root}}]\n", 4, "as", "give the rights"},
        {HEAD CLUSTER "users: [{name: u, user: {username: 'null'}}]\n", 4, "username",
         "not supported"},
        {"[]\n", 1, "current-context", "expected a context"},
        {"current-context: c\ncontexts: {x: {name: c, context: {cluster: k}}}\n", 2, "contexts",
         "found none"},
        {HEAD "clusters: &k [{name: k}]\n", 3, "clusters", "anchors (&k) are not supported"},
        {HEAD CLUSTER "users: [{name: u, user: *u}]\n", 4, "users[0].user", "aliases (*u)"},
        {HEAD CLUSTER "users: [{name: u, user: {token: !!str 1}}]\n", 4, "users[0].user.token",
         "tags (!!str)"},
        {HEAD CLUSTER "users: [{name: u, user: {token: a, token: b}}]\n", 4, "users[0].user.token",
         "duplicate key"},
        {HEAD CLUSTER "users: [{name: u, user: {token: \"a\\0b\"}}]\n", 4, "users[0].user.token",
         "control characters are not allowed"},
        {HEAD CLUSTER "---\n" HEAD, 4, "", "one document"},
        {HEAD CLUSTER "users: [{name: u, user: {client-certificate: x}}]\n", 4, "users",
         "one without the other"},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_kube_access *a = NULL;
        struct sl_error err = {0};

        write_file(rows[i].text);
        int rc = load(NULL, &a, &err);
        check(rc == SL_ECONFIG && a == NULL, "row %zu: %d", i, rc);
        check(err.line == rows[i].line && strcmp(err.key, rows[i].key) == 0,
              "row %zu: line %u, key %s, %s", i, err.line, err.key, err.message);
        check(strstr(err.message, rows[i].message) != NULL, "row %zu: %s", i, err.message);
        assert_string_equal(err.file, file);
    }
}

static void the_server_may_have_another_name_and_send_plainly(void **state)
{
    static const char *const names[] = {"kube.test", "10.0.0.1", "fd00::1"};
    struct sl_kube_access *a = NULL;
    struct sl_error err = {0};
    char text[512];
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        struct sl_fetch_request r = {0};

        (void)snprintf(text, sizeof(text),
                       "current-context: c\ncontexts: [{name: c, context: {cluster: k}}]\n"
                       "clusters: [{name: k, cluster: {server: 'https://h', tls-server-name: '%s',"
                       " disable-compression: true}}]\n",
                       names[i]);
        write_file(text);
        int rc = load(NULL, &a, &err);
        check(rc == SL_OK, "%s: %d, %s", names[i], rc, err.message);
        assert_true(a->no_gzip);
        sl_kube_access_apply(a, &r);
        assert_string_equal(r.tls_name, names[i]);
        assert_false(r.insecure);
        sl_kube_access_free(a);
    }
}

static void insecure_is_what_both_files_ask_for(void **state)
{
    static const struct {
        const char *more;
        bool allowed;
        int rc;
        bool insecure;
    } rows[] = {
        {"", false, SL_OK, false},
        {"", true, SL_OK, false},
        {", insecure-skip-tls-verify: false", true, SL_OK, false},
        {", insecure-skip-tls-verify: true", false, SL_ECONFIG, false},
        {", insecure-skip-tls-verify: true", true, SL_OK, true},
        {", insecure-skip-tls-verify: true, certificate-authority: ca.crt", true, SL_ECONFIG,
         false},
    };
    char text[512];
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_kube_access *a = NULL;
        struct sl_fetch_request r = {0};
        struct sl_error err = {0};

        (void)snprintf(text, sizeof(text),
                       "current-context: c\ncontexts: [{name: c, context: {cluster: k}}]\n"
                       "clusters: [{name: k, cluster: {server: 'https://h'%s}}]\n",
                       rows[i].more);
        write_file(text);
        allow_insecure = rows[i].allowed;
        int rc = load(NULL, &a, &err);
        allow_insecure = false;
        check(rc == rows[i].rc, "row %zu: %d, %s", i, rc, err.message);
        if (rc == SL_OK) {
            sl_kube_access_apply(a, &r);
            check(r.insecure == rows[i].insecure, "row %zu", i);
        }
        sl_kube_access_free(a);
    }
}

static void base64_and_what_is_not_ours_may_stand_in_lines(void **state)
{
    struct sl_kube_access *a = NULL;
    struct sl_error err = {0};
    (void)state;

    write_file(HEAD
               "clusters:\n- name: k\n  cluster:\n    server: https://h\n"
               "    certificate-authority-data: |\n      aGVs\n      bG8=\n"
               "users:\n- { name: u, user: { token: t } }\n"
               "- name: other\n  user:\n    exec:\n      command: sh\n      args:\n      - -c\n"
               "      - |\n        one\n        \ttwo\n");
    int rc = load(NULL, &a, &err);
    check(rc == SL_OK, "%d: %s", rc, err.message);
    assert_pem(&a->ca_pem, "hello");
    assert_string_equal(a->token, "t");
    sl_kube_access_free(a);
}

static void http_is_for_this_machine_alone(void **state)
{
    static const struct {
        const char *server;
        bool allowed;
    } rows[] = {
        {"http://127.0.0.1:8001", true},
        {"http://localhost", true},
        {"http://[::1]:8001/", true},
        {"http://127.0.0.1.evil.test:1", false},
        {"http://localhost.evil.test", false},
        {"http://10.0.0.1", false},
        {"ftp://127.0.0.1", false},
        {"https://h?x", false},
        {"https://h\r\nx", false},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_error err;
        char *url = NULL;
        int rc = sl_kube_check_server(rows[i].server, NULL, &url, &err);
        check((rc == SL_OK) == rows[i].allowed, "%s: %d", rows[i].server, rc);
        sl_free(url);
    }
}

static void a_token_that_would_forge_a_header_is_refused(void **state)
{
    static const char *const tokens[] = {"", " \n", "a b", "a\r\nX-Forged: 1", "a\x7f"};
    static char header[SL_KUBE_HEADER_BYTES];
    struct sl_kube_access a = {.token_file = file};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(tokens); i++) {
        struct sl_error err;
        write_file(tokens[i]);
        int rc = sl_kube_access_header(&a, header, &err);
        check(rc == SL_ECONFIG && header[0] == '\0', "row %zu: %d", i, rc);
        check(strstr(err.message, "holds no token") != NULL, "row %zu: %s", i, err.message);
    }
    write_file("\n good \n");
    struct sl_error err;
    assert_int_equal(sl_kube_access_header(&a, header, &err), SL_OK);
    assert_string_equal(header, "Authorization: Bearer good");
}

static void in_a_pod_the_environment_and_the_mount_say_where(void **state)
{
    const struct sl_config config = {.kubernetes = {.service_account = dir}};
    struct sl_kube_access *a = NULL;
    struct sl_error err = {0};
    char namespace_file[128];
    (void)state;

    assert_int_equal(unsetenv("KUBERNETES_SERVICE_HOST"), 0);
    assert_int_equal(sl_kube_access_load(&config, &a, &err), SL_ECONFIG);
    assert_non_null(strstr(err.message, "kubernetes.kubeconfig"));
    assert_int_equal(setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1), 0);
    assert_int_equal(setenv("KUBERNETES_SERVICE_PORT", "443x", 1), 0);
    assert_int_equal(sl_kube_access_load(&config, &a, &err), SL_ECONFIG);
    assert_non_null(strstr(err.message, "found \"443x\""));
    assert_int_equal(setenv("KUBERNETES_SERVICE_PORT", "443", 1), 0);
    assert_int_equal(sl_kube_access_load(&config, &a, &err), SL_OK);
    assert_string_equal(a->server, "https://[fd00::1]:443");
    assert_null(a->namespace_); /* no such file */
    assert_non_null(strstr(a->ca_file, "/ca.crt"));
    assert_non_null(strstr(a->token_file, "/token"));
    sl_kube_access_free(a);

    write_file("model\n");
    (void)snprintf(namespace_file, sizeof(namespace_file), "%s/namespace", dir);
    assert_int_equal(rename(file, namespace_file), 0);
    assert_int_equal(sl_kube_access_load(&config, &a, &err), SL_OK);
    assert_string_equal(a->namespace_, "model");
    sl_kube_access_free(a);
    assert_int_equal(unlink(namespace_file), 0);
}

static int allocs_left_n;

static bool allow_alloc(size_t size_bytes)
{
    (void)size_bytes;
    return allocs_left_n-- > 0;
}

static void reading_survives_each_failed_allocation(void **state)
{
    struct sl_kube_access *a = NULL;
    struct sl_error err;
    int rc = SL_ENOMEM;
    (void)state;

    write_file(whole);
    for (int allowed_n = 0; rc != SL_OK; allowed_n++) {
        check(rc == SL_ENOMEM && a == NULL, "%d allowed: %d, %s", allowed_n - 1, rc, err.message);
        allocs_left_n = allowed_n;
        sl_alloc_hook = allow_alloc;
        rc = load("data", &a, &err);
        sl_alloc_hook = NULL;
    }
    sl_kube_access_free(a);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_current_context_is_read_with_paths_from_its_folder),
        TEST(data_goes_before_files_and_a_context_may_be_named),
        TEST(what_we_do_not_do_is_refused_where_it_stands),
        TEST(the_server_may_have_another_name_and_send_plainly),
        TEST(insecure_is_what_both_files_ask_for),
        TEST(base64_and_what_is_not_ours_may_stand_in_lines),
        TEST(http_is_for_this_machine_alone),
        TEST(a_token_that_would_forge_a_header_is_refused),
        TEST(in_a_pod_the_environment_and_the_mount_say_where),
        TEST(reading_survives_each_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
