/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay: a main for a fuzz target without libFuzzer. Gives it the empty input and every file of
 * the directories named, each in an allocation of exactly its size, so that a read past the end is
 * seen by the sanitizer.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A sanitizer leaves by _exit(), past atexit(): it calls this last. Absent without one. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static char current[4096];

static void say_where(void)
{
    if (current[0] != '\0') {
        (void)fprintf(stderr, "replay: ended in %s\n", current);
    }
}

static int replay_file(const char *path)
{
    struct stat st;
    FILE *f = fopen(path, "rb");

    if (f == NULL || fstat(fileno(f), &st) != 0) {
        (void)fprintf(stderr, "replay: cannot read %s\n", path);
        if (f != NULL) {
            (void)fclose(f);
        }
        return -1;
    }
    size_t size_bytes = (size_t)st.st_size;
    uint8_t *data = malloc(size_bytes != 0 ? size_bytes : 1);
    int rc = -1;
    if (data != NULL && fread(data, 1, size_bytes, f) == size_bytes) {
        (void)LLVMFuzzerTestOneInput(data, size_bytes);
        rc = 0;
    } else {
        (void)fprintf(stderr, "replay: short read of %s\n", path);
    }
    free(data);
    (void)fclose(f);
    return rc;
}

/* The number of files replayed, or -1. */
static long replay_directory(const char *path)
{
    struct dirent *entry;
    struct stat st;
    long files_n = 0;
    DIR *dir = opendir(path);

    if (dir == NULL) {
        (void)fprintf(stderr, "replay: no directory %s\n", path);
        return -1;
    }
    while (files_n >= 0 && (entry = readdir(dir)) != NULL) {
        int len = snprintf(current, sizeof(current), "%s/%s", path, entry->d_name);

        if (len < 0 || (size_t)len >= sizeof(current) || stat(current, &st) != 0) {
            (void)fprintf(stderr, "replay: cannot stat %s\n", current);
            files_n = -1;
        } else if (S_ISREG(st.st_mode)) {
            files_n = replay_file(current) == 0 ? files_n + 1 : -1;
        }
    }
    (void)closedir(dir);
    return files_n;
}

int main(int argc, char **argv)
{
    long total_n = 0;

    if (__sanitizer_set_death_callback != NULL) {
        __sanitizer_set_death_callback(say_where);
    }
    (void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++) {
        long n = replay_directory(argv[i]);

        if (n < 0) {
            return 1;
        }
        total_n += n;
    }
    if (total_n == 0) {
        (void)fprintf(stderr, "replay: %s: no file in the corpus\n", argv[0]);
        return 1;
    }
    (void)printf("replay %s: %ld files\n", argv[0], total_n);
    return 0;
}
