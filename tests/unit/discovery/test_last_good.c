/* SPDX-License-Identifier: Apache-2.0 */
#include "discovery/last_good.h"
#include "proxy/base/alloc.h"
#include "proxy/base/hash.h"
#include "tests/unit/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IDENTITY 0x00c0ffee12345678U

static const struct sl_found samples[] = {
    {.address = {.host = "/run/model.sock", .is_unix = true}, .weight = 9},
    {.pod_uid = "0e9dd6ba-4b5b-4b6e-9d8d-0242ac120002",
     .pod_name = "llama-7d9c6b8f5-x2x7k",
     .address = {.host = "10.0.0.7", .port = 8000},
     .weight = 3,
     .draining = true,
     .zone = "eu-west-1a",
     .version = "v2 \"quoted\" \\ \xc3\xa9",
     .model = "org/llama"},
    {.address = {.host = "2001:db8::1", .port = 65535}, .weight = 0},
};

struct fixture {
    char dir[64];
    char file[128];
    struct sl_last_good_key key;
};

static int begin(void **state)
{
    struct fixture *f = sl_alloc(sizeof(*f));

    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/sluiced-good-XXXXXX"); /* fits */
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->file, sizeof(f->file), "%s/chat.json", f->dir); /* fits */
    f->key = (struct sl_last_good_key){.dir = f->dir, .pool = "chat", .identity_hash = IDENTITY};
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;

    (void)unlink(f->file);
    assert_int_equal(rmdir(f->dir), 0); /* nothing else was left there */
    sl_free(f);
    return 0;
}

static void save(const struct fixture *f, size_t n, uint64_t unix_ms)
{
    struct sl_error err;

    int rc = sl_last_good_write(&f->key, samples, n, unix_ms, &err);
    check(rc == SL_OK, "%s", rc == SL_OK ? "" : err.message);
}

static size_t read_raw(const struct fixture *f, char *buf, size_t size_bytes)
{
    FILE *in = fopen(f->file, "re");

    assert_non_null(in);
    size_t len = fread(buf, 1, size_bytes, in);
    assert_int_equal(fclose(in), 0);
    return len;
}

static void write_raw(const struct fixture *f, const char *buf, size_t len)
{
    FILE *out = fopen(f->file, "we");

    assert_non_null(out);
    assert_int_equal(fwrite(buf, 1, len, out), len);
    assert_int_equal(fclose(out), 0);
}

/* SL_OK, or the code after a look at what must then be untouched. */
static int reads(const struct sl_last_good_key *key, struct sl_error *err)
{
    struct sl_found *items = NULL;
    size_t n = 77;
    uint64_t unix_ms = 88;
    int rc = sl_last_good_read(key, &items, &n, &unix_ms, err);

    if (rc != SL_OK) {
        assert_true(items == NULL && n == 77 && unix_ms == 88);
    }
    sl_free(items);
    return rc;
}

static void what_was_written_is_read_with_all_its_fields(void **state)
{
    const struct fixture *f = *state;
    struct sl_found *items;
    struct sl_error err;
    struct stat st;
    uint64_t unix_ms;
    size_t n;

    save(f, SL_ARRAY_LEN(samples), 1764000000123);
    assert_int_equal(stat(f->file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(sl_last_good_read(&f->key, &items, &n, &unix_ms, &err), SL_OK);
    assert_int_equal(n, SL_ARRAY_LEN(samples));
    assert_int_equal(unix_ms, 1764000000123);
    for (size_t i = 0; i < n; i++) {
        const struct sl_found *a = &items[i];
        const struct sl_found *b = &samples[i];
        assert_true(sl_address_same(&a->address, &b->address));
        assert_int_equal(a->weight, b->weight);
        assert_int_equal(a->draining, b->draining);
        assert_string_equal(a->pod_uid, b->pod_uid);
        assert_string_equal(a->pod_name, b->pod_name);
        assert_string_equal(a->zone, b->zone);
        assert_string_equal(a->version, b->version);
        assert_string_equal(a->model, b->model);
    }
    sl_free(items);
    save(f, 0, 5); /* none is an answer too, and replaces what there was */
    assert_int_equal(sl_last_good_read(&f->key, &items, &n, &unix_ms, &err), SL_OK);
    assert_int_equal(n, 0);
    assert_int_equal(unix_ms, 5);
    sl_free(items);
}

static void a_file_that_is_cut_or_altered_at_any_byte_is_not_used(void **state)
{
    const struct fixture *f = *state;
    struct sl_error err;
    char whole[2048];
    char altered[2048];

    save(f, SL_ARRAY_LEN(samples), 1764000000123);
    size_t len = read_raw(f, whole, sizeof(whole));
    assert_true(len > 100 && len < sizeof(whole));
    for (size_t i = 0; i < len; i++) {
        write_raw(f, whole, i);
        check(reads(&f->key, &err) == SL_EPROTO, "cut at %zu", i);
        memcpy(altered, whole, len);
        altered[i] ^= 1;
        write_raw(f, altered, len);
        check(reads(&f->key, &err) == SL_EPROTO, "altered at %zu", i);
    }
    write_raw(f, whole, len);
    assert_int_equal(reads(&f->key, &err), SL_OK);
}

/* With a sum that is right: by somebody's hand, or of another version of us. */
static void what_makes_no_sense_is_not_used(void **state)
{
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        {"[", "no JSON"},
        {"{\"format\":2", "another format"},
        {"{\"format\":1", "another source"},
        {"{\"format\":1,\"identity\":\"00c0ffee12345679\"", "another source"},
        {"{\"format\":1,\"identity\":\"00c0ffee12345678\"", "when it was written"},
        {"{\"format\":1,\"identity\":\"00c0ffee12345678\",\"written_unix_ms\":1", "no list"},
#define ONE(endpoint)                                                                       \
    {"{\"format\":1,\"identity\":\"00c0ffee12345678\",\"written_unix_ms\":1,\"endpoints\":" \
     "[" endpoint "]",                                                                      \
     "makes no sense"}
        ONE("7"),
        ONE("{}"),
        ONE("{\"host\":\"10.0.0.7\",\"port\":80}"),
        ONE("{\"host\":\"10.0.0.7\",\"port\":0,\"weight\":1}"),
        ONE("{\"host\":\"10.0.0.7\",\"port\":65536,\"weight\":1}"),
        ONE("{\"host\":\"10.0.0.7\",\"port\":80,\"weight\":-1}"),
        ONE("{\"host\":\"10.0.0.7\",\"port\":80,\"weight\":\"1\"}"),
        ONE("{\"host\":\"model.example\",\"port\":80,\"weight\":1}"),
        ONE("{\"host\":\"\",\"port\":80,\"weight\":1}"),
        ONE("{\"unix\":\"\",\"port\":0,\"weight\":1}"),
        ONE("{\"unix\":\"/a\",\"port\":1,\"weight\":1}"),
        ONE("{\"host\":\"10.0.0.7\",\"port\":80,\"weight\":1,\"uid\":7}"),
        ONE("{\"host\":\"10.0.0.7\",\"port\":80,\"weight\":1,\"uid\":"
            "\"1234567890123456789012345678901234567\"}"),
    };
    const struct fixture *f = *state;
    struct sl_error err;
    char text[512];

    for (size_t i = 0; i < SL_ARRAY_LEN(cases); i++) {
        int n = snprintf(text, sizeof(text), "%s,\"sum\":\"%016" PRIx64 "\"}\n", cases[i].text,
                         sl_hash(sl_slice_of(cases[i].text), 1));
        write_raw(f, text, (size_t)n);
        check(reads(&f->key, &err) == SL_EPROTO, "%s", cases[i].text);
        check(strstr(err.message, cases[i].why) != NULL, "%s: %s", cases[i].text, err.message);
        check(strstr(err.message, f->file) != NULL, "%s", err.message);
    }
}

static void a_file_of_another_source_is_not_used(void **state)
{
    const struct fixture *f = *state;
    struct sl_last_good_key other = f->key;
    struct sl_error err;

    save(f, 1, 1);
    other.identity_hash++;
    assert_int_equal(reads(&other, &err), SL_EPROTO);
    other = f->key;
    other.pool = "rest";
    assert_int_equal(reads(&other, &err), SL_EIO);
    assert_non_null(strstr(err.message, "rest.json: No such file"));
}

static void a_file_that_is_too_large_is_not_read(void **state)
{
    const struct fixture *f = *state;
    struct sl_error err;

    save(f, 1, 1);
    assert_int_equal(truncate(f->file, 64 * 1024 * 1024 + 1), 0);
    assert_int_equal(reads(&f->key, &err), SL_ELIMIT);
    assert_int_equal(sl_last_good_write(&f->key, samples, SL_LAST_GOOD_MAX_N + 1, 1, &err),
                     SL_ELIMIT);
}

static void no_pool_is_written_beside_the_folder(void **state)
{
    static const char *const names[] = {"", ".", "..", "../chat", "a/b", ".chat"};
    const struct fixture *f = *state;
    struct sl_last_good_key key = f->key;
    struct sl_error err;

    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        key.pool = names[i];
        assert_int_equal(sl_last_good_write(&key, samples, 1, 1, &err), SL_ELIMIT);
        assert_int_equal(reads(&key, &err), SL_ELIMIT);
    }
    key = f->key;
    key.dir = "/nonexistent/folder";
    assert_int_equal(sl_last_good_write(&key, samples, 1, 1, &err), SL_EIO);
    assert_string_equal(err.message,
                        "cannot write /nonexistent/folder/chat.json: No such file or directory");
}

static void what_cannot_be_written_leaves_the_file_before(void **state)
{
    const struct fixture *f = *state;
    struct sl_error err;

    assert_int_equal(mkdir(f->file, 0700), 0); /* a rename over it fails */
    assert_int_equal(sl_last_good_write(&f->key, samples, 1, 1, &err), SL_EIO);
    assert_int_equal(rmdir(f->file), 0);
}

static size_t allowed_n;

static bool some(size_t size_bytes)
{
    (void)size_bytes;
    return allowed_n > 0 && allowed_n-- > 0;
}

static void lack_of_memory_leaves_nothing_behind(void **state)
{
    const struct fixture *f = *state;
    struct sl_error err;
    int rc = SL_ENOMEM;

    for (size_t i = 0; rc != SL_OK; i++) {
        allowed_n = i;
        sl_alloc_hook = some;
        rc = sl_last_good_write(&f->key, samples, SL_ARRAY_LEN(samples), 1, &err);
        sl_alloc_hook = NULL;
        assert_true(rc == SL_OK || rc == SL_ENOMEM);
    }
    rc = SL_ENOMEM;
    for (size_t i = 0; rc != SL_OK; i++) {
        allowed_n = i;
        sl_alloc_hook = some;
        rc = reads(&f->key, &err);
        sl_alloc_hook = NULL;
        assert_true(i < 1000);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_written_is_read_with_all_its_fields),
        TEST(a_file_that_is_cut_or_altered_at_any_byte_is_not_used),
        TEST(what_makes_no_sense_is_not_used),
        TEST(a_file_of_another_source_is_not_used),
        TEST(a_file_that_is_too_large_is_not_read),
        TEST(no_pool_is_written_beside_the_folder),
        TEST(what_cannot_be_written_leaves_the_file_before),
        TEST(lack_of_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
