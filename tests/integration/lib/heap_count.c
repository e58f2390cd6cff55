/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap_count: what a process has from its heap, as blocks and bytes, in the file that HEAP_COUNT
 * names. Preloaded. Neither resident memory nor mallinfo() can tell that to the block: they include
 * what was freed and waits for the next, in each thread's cache and between blocks in use.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct counts {
    _Atomic int64_t blocks_n;
    _Atomic int64_t bytes;
};

/* glibc's own names of what is replaced here. */
void *__libc_malloc(size_t size_bytes);
void *__libc_calloc(size_t n, size_t item_bytes);
void *__libc_realloc(void *p, size_t size_bytes);
void *__libc_memalign(size_t align, size_t size_bytes);
void __libc_free(void *p);

static struct counts early; /* before there is a file: not counted */
static struct counts *counts = &early;

static void *count(void *p)
{
    if (p != NULL) {
        atomic_fetch_add_explicit(&counts->blocks_n, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&counts->bytes, (int64_t)malloc_usable_size(p),
                                  memory_order_relaxed);
    }
    return p;
}

static void uncount(int64_t blocks_n, size_t size_bytes)
{
    atomic_fetch_sub_explicit(&counts->blocks_n, blocks_n, memory_order_relaxed);
    atomic_fetch_sub_explicit(&counts->bytes, (int64_t)size_bytes, memory_order_relaxed);
}

void *malloc(size_t size_bytes)
{
    return count(__libc_malloc(size_bytes));
}

void *calloc(size_t n, size_t item_bytes)
{
    return count(__libc_calloc(n, item_bytes));
}

void *memalign(size_t align, size_t size_bytes)
{
    return count(__libc_memalign(align, size_bytes));
}

void *aligned_alloc(size_t align, size_t size_bytes)
{
    return memalign(align, size_bytes);
}

int posix_memalign(void **out, size_t align, size_t size_bytes)
{
    void *p = memalign(align, size_bytes);

    if (p == NULL) {
        return ENOMEM;
    }
    *out = p;
    return 0;
}

void free(void *p)
{
    if (p != NULL) {
        uncount(1, malloc_usable_size(p));
        __libc_free(p);
    }
}

void *realloc(void *p, size_t size_bytes)
{
    size_t before_bytes = p != NULL ? malloc_usable_size(p) : 0;
    void *moved = __libc_realloc(p, size_bytes);

    if (moved != NULL || (p != NULL && size_bytes == 0)) { /* else p stands as it was */
        uncount(p != NULL, before_bytes);
    }
    return count(moved);
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("HEAP_COUNT");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;

    if (fd < 0 || ftruncate(fd, sizeof(struct counts)) != 0) {
        abort();
    }
    void *p = mmap(NULL, sizeof(struct counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        abort();
    }
    counts = p;
    (void)close(fd); /* the mapping stays */
}
