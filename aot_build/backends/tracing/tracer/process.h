/* What every hook stands on: the function behind it, the log of this process, and telling it. */
#include <dlfcn.h>
#include <stdarg.h>

#define PUBLIC __attribute__((visibility("default")))

static struct head *active;   /* the log, or NULL */
static struct head *retired;  /* the one before: another thread may still be writing to it */
static int started;           /* 1: the environment was looked at */
static int process_muted;     /* but not the programs that it executes */
static __thread int thread_muted;
static unsigned known_libraries;

static void record(struct head *log, char kind, int folder, const char *path);

/* The next definition of a symbol, looked up once. */
static long missing(void)
{
    errno = ENOSYS;
    return -1;
}

static void *next(void **found, const char *name)
{
    void *function = LOAD(found);
    if (!function) {
        function = dlsym(RTLD_NEXT, name);
        STORE(found, function ? function : (void *)missing);
        function = LOAD(found);
    }
    return function;
}

#define NEXT(symbol)                                                                               \
    ({                                                                                             \
        static void *found;                                                                        \
        (__typeof__(&hook_##symbol)) next(&found, #symbol);                                        \
    })
#define HOOK(type, symbol, parameters)                                                             \
    PUBLIC type hook_##symbol parameters __asm__(#symbol);                                         \
    type hook_##symbol parameters

static int count_library(struct dl_phdr_info *library, size_t size, void *count)
{
    (void)library, (void)size;
    ++*(unsigned *)count;
    return 0;
}

/* The system's own libraries are in every program; others came by RUNPATH or LD_LIBRARY_PATH. */
static int tell_own_library(struct dl_phdr_info *library, size_t size, void *log)
{
    const char *path = library->dlpi_name;
    (void)size;
    if (strchr(path, '/') && strcmp(path, own_path) && !names(path, "/lib") &&
        !names(path, "/usr/lib"))
        record(log, 'l', AT_FDCWD, path);
    return 0;
}

static int use_log(const char *path)
{
    struct head *log = strlen(path) < PATH_MAX && *own_path ? map_log(path) : NULL;
    if (!log)
        return -1;
    stpcpy(stpcpy(log_place, PLACE), path);
    stpcpy(stpcpy(announced_place, PLACE "+"), path);
    known_libraries = 0;
    dl_iterate_phdr(count_library, &known_libraries);
    STORE(&active, log);
    return 0;
}

/* Other libraries' constructors may come before ours, and call a hook: whoever is first. */
static void start(void)
{
    int first = 0;
    if (!EXCHANGE(&started, &first, 1))
        return;
    Dl_info own;
    if (dladdr((void *)start, &own) && own.dli_fname[0] == '/' && strlen(own.dli_fname) < PATH_MAX)
        strcpy(own_path, own.dli_fname);
    for (char **entry = environ; entry && *entry; entry++)
        if (names(*entry, PLACE)) {
            char *path = *entry + strlen(PLACE);
            bool announced = *path == '+';
            if (announced) /* Whoever is started past the hooks must not be taken for announced. */
                memmove(path, path + 1, strlen(path));
            if (use_log(path))
                return;
            if (announced)
                ADD(&active->arrived, 1);
            dl_iterate_phdr(tell_own_library, active);
            return;
        }
}

static struct head *log_of_process(void)
{
    if (!LOAD(&started))
        start();
    return LOAD(&active);
}

/* The log, unless nothing of this thread is to be told. */
static struct head *listening(void)
{
    return thread_muted || process_muted ? NULL : log_of_process();
}

/* The path behind a descriptor, or the current folder; its length, 0 where it is not known: the
   folder was removed, or the descriptor is of no file. */
static size_t folder_path(int folder, char *into)
{
    long length = 0;
    if (folder == AT_FDCWD) {
        length = syscall(SYS_getcwd, into, PATH_MAX) - 1; /* it counts the NUL byte */
    } else if (folder >= 0) {
        char link[32] = "/proc/self/fd/", digits[12], *end = digits + sizeof digits;
        *--end = 0;
        do
            *--end = (char)('0' + folder % 10);
        while (folder /= 10);
        strcat(link, end);
        length = syscall(SYS_readlinkat, AT_FDCWD, link, into, PATH_MAX);
    }
    return length > 0 && *into == '/' ? (size_t)length : 0;
}

/* Apart from `record`: it needs a lot of stack, and most paths are absolute. */
static __attribute__((noinline)) void record_below(struct head *log, char kind, int folder,
                                                   const char *path)
{
    char whole[LONGEST];
    size_t length = folder_path(folder, whole), rest = strlen(path);
    if (!length || length + 1 + rest > LONGEST) {
        /* Nothing is found below a folder that was removed; what is no file may be changed. */
        if (kind != 'a' && (rest || kind != 'w'))
            OR(&log->flags, TORN);
        return;
    }
    if (rest && whole[length - 1] != '/')
        whole[length++] = '/';
    memcpy(whole + length, path, rest);
    append(log, kind, whole, length + rest);
}

static void record(struct head *log, char kind, int folder, const char *path)
{
    int error = errno;
    if (*path == '/')
        append(log, kind, path, strlen(path));
    else if (*path)
        record_below(log, kind, folder, path);
    errno = error;
}

static void record_descriptor(char kind, int descriptor)
{
    struct head *log = listening();
    int error = errno;
    if (log)
        record_below(log, kind, descriptor, "");
    errno = error;
}

static bool is_there(int folder, const char *path)
{
    struct stat found;
    return !syscall(SYS_newfstatat, folder, path, &found, AT_SYMLINK_NOFOLLOW);
}

/* What a failure says of the path: 'a', 's', or nothing. */
static char kind_of_failure(int folder, const char *path)
{
    switch (errno) {
    case ENOTDIR: /* Of the path itself where a folder was asked for, or of one above it. */
        return is_there(folder, path) ? 's' : 'a';
    case ENOENT:
        return 'a';
    case EACCES: case EBUSY: case EEXIST: case EINVAL: case EISDIR: case ELOOP: case ENODATA:
    case ENOTEMPTY: case ENXIO: case EPERM: case ERANGE: case EROFS: case ETXTBSY:
        return 's';
    default:
        return 0;
    }
}

/* After a call: `kind` if it succeeded. */
static void tell(long answer, char kind, int folder, const char *path)
{
    struct head *log = listening();
    if (!log || !path)
        return;
    int error = errno;
    if (answer < 0)
        kind = kind_of_failure(folder, path);
    if (kind)
        record(log, kind, folder, path);
    errno = error;
}

/* Before an open: whether there is something to open already. */
static bool was_there(int folder, const char *path, int flags)
{
    if (!(flags & O_CREAT) || (flags & O_TRUNC) || !listening())
        return !(flags & O_CREAT);
    int error = errno;
    bool there = !(flags & O_EXCL) && !syscall(SYS_faccessat, folder, path, F_OK);
    errno = error;
    return there;
}

static bool is_folder(int descriptor)
{
    struct stat found;
    return !syscall(SYS_fstat, descriptor, &found) && S_ISDIR(found.st_mode);
}

/* After an open. */
static void opened(int answer, int folder, const char *path, int flags, bool was_there)
{
    struct head *log = listening();
    int access = flags & O_ACCMODE;
    if (!log || answer < 0 || (flags & (O_PATH | O_DIRECTORY))) {
        tell(answer, 's', folder, path);
        return;
    }
    if (access != O_WRONLY && !(flags & O_TRUNC) && was_there)
        record(log, is_folder(answer) ? 's' : 'r', folder, path);
    if (access != O_RDONLY || (flags & O_TRUNC) || !was_there)
        record(log, 'w', folder, path);
}
