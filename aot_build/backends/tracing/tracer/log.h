/* The log that all processes of an action write: one file, mapped by each of them.
 *
 * Head      one page, see `struct head`: who made it, how far it is filled, whether it is whole.
 * Table     SLOTS hashes of (kind, path): what is told already is not told again. The first NEAR
 *           of them come first: each page of a mapped file that is written to costs some 20 us.
 * Records   from RECORDS on, each 8-byte aligned: a 32-bit word, a kind, a path, NUL bytes to the
 *           next record. The word is the record's size, a multiple of 8, with CLAIMED or WRITTEN.
 *
 * A place is taken by exchanging a zero word for a size, and only then is `tail` moved on, by
 * whoever comes first: wherever a process is killed, all records before and behind its own can be
 * walked. `unfinished` then stays above zero, and the log does not count as whole. A hash enters
 * the table after its record: two processes may tell one thing twice, but none is left out.
 *
 * `announced` counts programs that were about to be executed, `arrived` those that then found the
 * log. Fewer arrive where the loader passed over this library: something ran unseen.
 *
 * No locks, no memory of its own, no calls but mmap at the start: any thread, any signal handler,
 * and a child between vfork and exec may write. Python reads it with records.py.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { VERSION = 2, SLOTS = 1 << 16, PROBES = 64, HEAD = 4096, RECORDS = HEAD + SLOTS * 8 };
enum { NEAR = 1 << 11, NEAR_PROBES = 16 };
enum { OVERFLOWED = 1, TORN = 2, UNMAPPED = 4 };
enum { CLAIMED = 2, WRITTEN = 1, MARKS = 7, LONGEST = 2 * PATH_MAX };

struct head {
    char magic[8]; /* AOTTRACE */
    uint32_t version;
    uint32_t flags;
    uint64_t capacity; /* of the whole file */
    uint64_t tail;     /* offset of the first free byte */
    uint32_t unfinished;
    uint32_t announced;
    uint32_t arrived;
};

#define LOAD(place) __atomic_load_n(place, __ATOMIC_ACQUIRE)
#define STORE(place, value) __atomic_store_n(place, value, __ATOMIC_RELEASE)
#define ADD(place, value) __atomic_fetch_add(place, value, __ATOMIC_ACQ_REL)
#define OR(place, value) __atomic_fetch_or(place, value, __ATOMIC_ACQ_REL)
#define EXCHANGE(place, expected, value)                                                           \
    __atomic_compare_exchange_n(place, expected, value, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)

/* The log at a path, or NULL; where it cannot be mapped whole, its first page is told so. */
static struct head *map_log(const char *path)
{
    struct head found = {0};
    struct head *log = NULL;
    int file = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (file < 0)
        return NULL;
    if (pread(file, &found, sizeof found, 0) == (ssize_t)sizeof found &&
        !memcmp(found.magic, "AOTTRACE", 8) && found.version == VERSION) {
        void *mapped = mmap(NULL, found.capacity, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (mapped != MAP_FAILED)
            log = mapped;
        else if ((mapped = mmap(NULL, HEAD, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)) !=
                 MAP_FAILED) {
            OR(&((struct head *)mapped)->flags, UNMAPPED);
            munmap(mapped, HEAD);
        }
    }
    syscall(SYS_close, file);
    return log;
}

/* Multiplying by an odd number and folding are both reversible: no word is lost on the way. */
static uint64_t hash_of(char kind, const char *path, size_t length)
{
    const uint64_t odd = 0x9E3779B97F4A7C15u;
    uint64_t hash = (uint64_t)kind * odd ^ length;
    for (uint64_t word; length; length -= length < 8 ? length : 8, path += 8) {
        word = 0;
        memcpy(&word, path, length < 8 ? length : 8);
        hash = (hash ^ word) * odd;
        hash ^= hash >> 29;
    }
    hash = (hash ^ hash >> 32) * 0xD6E8FEB86659FD93u;
    hash ^= hash >> 32;
    return hash ? hash : 1;
}

/* Where a hash is, or may be put; NULL where it is crowded: then it is told each time. */
static uint64_t *slot_of(struct head *log, uint64_t hash)
{
    uint64_t *table = (uint64_t *)((char *)log + HEAD);
    for (size_t n = 0; n < NEAR_PROBES + PROBES; n++) {
        uint64_t *slot = n < NEAR_PROBES ? &table[(hash + n) % NEAR]
                                         : &table[NEAR + (hash + n) % (SLOTS - NEAR)];
        uint64_t there = LOAD(slot);
        if (!there || there == hash)
            return slot;
    }
    return NULL;
}

/* The place of a new record of that size, or NULL where the log is full. */
static char *claim(struct head *log, uint32_t size)
{
    uint64_t at = LOAD(&log->tail);
    while (at + size + 8 <= log->capacity) {
        uint32_t there = 0;
        uint32_t *word = (uint32_t *)((char *)log + at);
        bool ours = EXCHANGE(word, &there, size | CLAIMED);
        uint64_t next = at + (ours ? size : there & ~(uint32_t)MARKS);
        if (EXCHANGE(&log->tail, &at, next))
            at = next;
        if (ours)
            return (char *)word;
    }
    OR(&log->flags, OVERFLOWED);
    return NULL;
}

static void append(struct head *log, char kind, const char *path, size_t length)
{
    if (length > LONGEST) {
        OR(&log->flags, TORN);
        return;
    }
    uint64_t hash = hash_of(kind, path, length);
    uint64_t *slot = slot_of(log, hash);
    if (slot && LOAD(slot) == hash)
        return;
    uint32_t size = (uint32_t)(sizeof(uint32_t) + 1 + length + 1 + MARKS) & ~(uint32_t)MARKS;
    ADD(&log->unfinished, 1);
    char *place = claim(log, size);
    if (place) {
        place[4] = kind;
        memcpy(place + 5, path, length);
        STORE((uint32_t *)place, size | WRITTEN);
        uint64_t empty = 0;
        while (slot && !EXCHANGE(slot, &empty, hash) && empty != hash) {
            slot = slot_of(log, hash);
            empty = 0;
        }
    }
    ADD(&log->unfinished, (uint32_t)-1);
}
