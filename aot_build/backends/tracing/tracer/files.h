/* Calls that open, look at, or change files. */
#include <stdio.h>

#define MODE                                                                                       \
    va_list rest;                                                                                  \
    va_start(rest, flags);                                                                         \
    unsigned mode = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, unsigned) : 0; \
    va_end(rest);

#define OPEN(symbol, parameters, arguments, before, folder, flags)                                 \
    HOOK(int, symbol, parameters)                                                                  \
    {                                                                                              \
        before bool there = was_there(folder, path, flags);                                        \
        int answer = NEXT(symbol) arguments;                                                       \
        opened(answer, folder, path, flags, there);                                                \
        return answer;                                                                             \
    }
#define OPEN_HERE(symbol)                                                                          \
    OPEN(symbol, (const char *path, int flags, ...), (path, flags, mode), MODE, AT_FDCWD, flags)
#define OPEN_AT(symbol)                                                                            \
    OPEN(symbol, (int folder, const char *path, int flags, ...), (folder, path, flags, mode),      \
         MODE, folder, flags)
#define OPEN_CHECKED(symbol)                                                                       \
    OPEN(symbol, (const char *path, int flags), (path, flags), , AT_FDCWD, flags)
#define OPEN_AT_CHECKED(symbol)                                                                    \
    OPEN(symbol, (int folder, const char *path, int flags), (folder, path, flags), , folder, flags)
#define CREATE(symbol)                                                                             \
    OPEN(symbol, (const char *path, mode_t mode), (path, mode), , AT_FDCWD,                        \
         O_WRONLY | O_CREAT | O_TRUNC)

OPEN_HERE(open)
OPEN_HERE(open64)
OPEN_HERE(__open)
OPEN_HERE(__open64)
OPEN_AT(openat)
OPEN_AT(openat64)
OPEN_CHECKED(__open_2)
OPEN_CHECKED(__open64_2)
OPEN_AT_CHECKED(__openat_2)
OPEN_AT_CHECKED(__openat64_2)
CREATE(creat)
CREATE(creat64)

static int flags_of_mode(const char *mode)
{
    int flags = *mode == 'r' ? 0 : *mode == 'w' ? O_CREAT | O_TRUNC : O_CREAT;
    if (strchr(mode, 'x'))
        flags |= O_EXCL;
    return flags | (strchr(mode, '+') ? O_RDWR : *mode == 'r' ? O_RDONLY : O_WRONLY);
}

#define OPEN_STREAM(symbol, parameters, arguments)                                                 \
    HOOK(FILE *, symbol, parameters)                                                               \
    {                                                                                              \
        int flags = flags_of_mode(mode);                                                           \
        bool there = path && was_there(AT_FDCWD, path, flags);                                     \
        FILE *answer = NEXT(symbol) arguments;                                                     \
        opened(answer ? fileno(answer) : -1, AT_FDCWD, path ? path : "", flags, there);            \
        return answer;                                                                             \
    }
OPEN_STREAM(fopen, (const char *path, const char *mode), (path, mode))
OPEN_STREAM(fopen64, (const char *path, const char *mode), (path, mode))
OPEN_STREAM(freopen, (const char *path, const char *mode, FILE *old), (path, mode, old))
OPEN_STREAM(freopen64, (const char *path, const char *mode, FILE *old), (path, mode, old))

#define TELL(type, symbol, kind, parameters, arguments, folder, path)                              \
    HOOK(type, symbol, parameters)                                                                 \
    {                                                                                              \
        type answer = NEXT(symbol) arguments;                                                      \
        tell((long)answer, kind, folder, path);                                                    \
        return answer;                                                                             \
    }
#define HERE(type, symbol, kind, more, passed)                                                     \
    TELL(type, symbol, kind, (const char *path more), (path passed), AT_FDCWD, path)
#define AT(type, symbol, kind, more, passed)                                                       \
    TELL(type, symbol, kind, (int folder, const char *path more), (folder, path passed), folder,   \
         path)
#define WITH(...) , __VA_ARGS__

HERE(int, stat, 's', WITH(void *into), WITH(into))
HERE(int, stat64, 's', WITH(void *into), WITH(into))
HERE(int, lstat, 's', WITH(void *into), WITH(into))
HERE(int, lstat64, 's', WITH(void *into), WITH(into))
HERE(int, statfs, 's', WITH(void *into), WITH(into))
HERE(int, statfs64, 's', WITH(void *into), WITH(into))
HERE(int, statvfs, 's', WITH(void *into), WITH(into))
HERE(int, statvfs64, 's', WITH(void *into), WITH(into))
HERE(int, access, 's', WITH(int mode), WITH(mode))
HERE(int, eaccess, 's', WITH(int mode), WITH(mode))
HERE(int, euidaccess, 's', WITH(int mode), WITH(mode))
HERE(ssize_t, readlink, 's', WITH(char *into, size_t size), WITH(into, size))
HERE(ssize_t, __readlink_chk, 's', WITH(char *into, size_t size, size_t room),
     WITH(into, size, room))
HERE(ssize_t, getxattr, 's', WITH(const char *name, void *into, size_t size),
     WITH(name, into, size))
HERE(ssize_t, lgetxattr, 's', WITH(const char *name, void *into, size_t size),
     WITH(name, into, size))
HERE(ssize_t, listxattr, 's', WITH(char *into, size_t size), WITH(into, size))
HERE(ssize_t, llistxattr, 's', WITH(char *into, size_t size), WITH(into, size))
AT(int, fstatat, 's', WITH(void *into, int flags), WITH(into, flags))
AT(int, fstatat64, 's', WITH(void *into, int flags), WITH(into, flags))
AT(int, statx, 's', WITH(int flags, unsigned mask, void *into), WITH(flags, mask, into))
AT(int, faccessat, 's', WITH(int mode, int flags), WITH(mode, flags))
AT(ssize_t, readlinkat, 's', WITH(char *into, size_t size), WITH(into, size))
AT(ssize_t, __readlinkat_chk, 's', WITH(char *into, size_t size, size_t room),
   WITH(into, size, room))

#define OLD_STAT(symbol)                                                                           \
    TELL(int, symbol, 's', (int version, const char *path, void *into), (version, path, into),     \
         AT_FDCWD, path)
#define OLD_STAT_AT(symbol)                                                                        \
    TELL(int, symbol, 's', (int version, int folder, const char *path, void *into, int flags),     \
         (version, folder, path, into, flags), folder, path)
OLD_STAT(__xstat)
OLD_STAT(__xstat64)
OLD_STAT(__lxstat)
OLD_STAT(__lxstat64)
OLD_STAT_AT(__fxstatat)
OLD_STAT_AT(__fxstatat64)

HERE(int, mkdir, 'w', WITH(mode_t mode), WITH(mode))
HERE(int, rmdir, 'w', , )
HERE(int, unlink, 'w', , )
HERE(int, remove, 'w', , )
HERE(int, truncate, 'w', WITH(off_t size), WITH(size))
HERE(int, truncate64, 'w', WITH(off_t size), WITH(size))
HERE(int, mknod, 'w', WITH(mode_t mode, dev_t device), WITH(mode, device))
HERE(int, mkfifo, 'w', WITH(mode_t mode), WITH(mode))
HERE(int, chmod, 'w', WITH(mode_t mode), WITH(mode))
HERE(int, lchmod, 'w', WITH(mode_t mode), WITH(mode))
HERE(int, chown, 'w', WITH(uid_t user, gid_t group), WITH(user, group))
HERE(int, lchown, 'w', WITH(uid_t user, gid_t group), WITH(user, group))
HERE(int, utime, 'w', WITH(const void *times), WITH(times))
HERE(int, utimes, 'w', WITH(const void *times), WITH(times))
HERE(int, lutimes, 'w', WITH(const void *times), WITH(times))
AT(int, mkdirat, 'w', WITH(mode_t mode), WITH(mode))
AT(int, unlinkat, 'w', WITH(int flags), WITH(flags))
AT(int, mknodat, 'w', WITH(mode_t mode, dev_t device), WITH(mode, device))
AT(int, mkfifoat, 'w', WITH(mode_t mode), WITH(mode))
AT(int, fchmodat, 'w', WITH(mode_t mode, int flags), WITH(mode, flags))
AT(int, fchownat, 'w', WITH(uid_t user, gid_t group, int flags), WITH(user, group, flags))
AT(int, utimensat, 'w', WITH(const void *times, int flags), WITH(times, flags))
AT(int, futimesat, 'w', WITH(const void *times), WITH(times))
TELL(int, symlink, 'w', (const char *target, const char *path), (target, path), AT_FDCWD, path)
TELL(int, symlinkat, 'w', (const char *target, int folder, const char *path),
     (target, folder, path), folder, path)

/* Changes of a file that was perhaps opened for reading alone. */
#define TELL_DESCRIPTOR(symbol, parameters, arguments)                                             \
    HOOK(int, symbol, parameters)                                                                  \
    {                                                                                              \
        int answer = NEXT(symbol) arguments;                                                       \
        if (!answer)                                                                               \
            record_descriptor('w', file);                                                          \
        return answer;                                                                             \
    }
TELL_DESCRIPTOR(fchmod, (int file, mode_t mode), (file, mode))
TELL_DESCRIPTOR(fchown, (int file, uid_t user, gid_t group), (file, user, group))
TELL_DESCRIPTOR(futimens, (int file, const void *times), (file, times))
TELL_DESCRIPTOR(futimes, (int file, const void *times), (file, times))

/* Of a failure it is the first path that is told where that is not there, else the second. */
static void tell_both(int answer, char kind, int folder, const char *path, int new_folder,
                      const char *new_path)
{
    int error = errno;
    if (!listening() || !path || !new_path)
        return;
    bool first = !answer || !is_there(folder, path);
    errno = error;
    if (first)
        tell(answer, kind, folder, path);
    if (!first || !answer)
        tell(answer, 'w', new_folder, new_path);
    errno = error;
}

#define TELL_BOTH(symbol, kind, parameters, arguments, folder, new_folder)                         \
    HOOK(int, symbol, parameters)                                                                  \
    {                                                                                              \
        int answer = NEXT(symbol) arguments;                                                       \
        tell_both(answer, kind, folder, path, new_folder, new_path);                               \
        return answer;                                                                             \
    }
TELL_BOTH(rename, 'w', (const char *path, const char *new_path), (path, new_path), AT_FDCWD,
          AT_FDCWD)
TELL_BOTH(renameat, 'w',
          (int folder, const char *path, int new_folder, const char *new_path),
          (folder, path, new_folder, new_path), folder, new_folder)
TELL_BOTH(renameat2, 'w',
          (int folder, const char *path, int new_folder, const char *new_path, unsigned flags),
          (folder, path, new_folder, new_path, flags), folder, new_folder)
/* What is linked is as good as copied. */
TELL_BOTH(link, 'r', (const char *path, const char *new_path), (path, new_path), AT_FDCWD,
          AT_FDCWD)
TELL_BOTH(linkat, 'r',
          (int folder, const char *path, int new_folder, const char *new_path, int flags),
          (folder, path, new_folder, new_path, flags), folder, new_folder)

HERE(int, mkstemp, 'w', , )
HERE(int, mkstemp64, 'w', , )
HERE(int, mkostemp, 'w', WITH(int flags), WITH(flags))
HERE(int, mkostemp64, 'w', WITH(int flags), WITH(flags))
HERE(int, mkstemps, 'w', WITH(int suffix), WITH(suffix))
HERE(int, mkstemps64, 'w', WITH(int suffix), WITH(suffix))
HERE(int, mkostemps, 'w', WITH(int suffix, int flags), WITH(suffix, flags))
HERE(int, mkostemps64, 'w', WITH(int suffix, int flags), WITH(suffix, flags))
HOOK(char *, mkdtemp, (char *path))
{
    char *answer = NEXT(mkdtemp)(path);
    tell(answer ? 0 : -1, 'w', AT_FDCWD, path);
    return answer;
}

/* Every component of a path, and of what its links lead to, as realpath looks at them. */
static __attribute__((noinline)) void tell_components(const char *path)
{
    char done[PATH_MAX], rest[PATH_MAX], link[PATH_MAX];
    size_t length = *path == '/' ? 0 : folder_path(AT_FDCWD, done), links = 0;
    if (!listening() || strlen(path) >= sizeof rest)
        return;
    strcpy(rest, path);
    for (char *name = rest; *name;) {
        size_t size = strcspn(name, "/");
        char *after = name + size + strspn(name + size, "/");
        if (size == 2 && !memcmp(name, "..", 2)) {
            while (length && done[--length] != '/')
                ;
        } else if (size && !(size == 1 && *name == '.')) {
            size_t before = length;
            if (length + 1 + size >= sizeof done)
                return;
            done[length++] = '/';
            memcpy(done + length, name, size);
            done[length += size] = 0;
            long target = syscall(SYS_readlinkat, AT_FDCWD, done, link, sizeof link - 1);
            tell(target, 's', AT_FDCWD, done);
            if (target < 0 && errno != EINVAL)
                return;
            if (target >= 0) {
                if (++links > 40 || (size_t)target + 1 + strlen(after) >= sizeof link)
                    return;
                link[target] = '/';
                strcpy(link + target + 1, after);
                strcpy(after = rest, link);
                length = *rest == '/' ? 0 : before;
            }
        }
        name = after;
    }
}

#define RESOLVE(symbol, parameters, arguments)                                                     \
    HOOK(char *, symbol, parameters)                                                               \
    {                                                                                              \
        int error = errno;                                                                         \
        if (path && listening())                                                                   \
            tell_components(path);                                                                 \
        errno = error;                                                                             \
        return NEXT(symbol) arguments;                                                             \
    }
RESOLVE(realpath, (const char *path, char *into), (path, into))
RESOLVE(__realpath_chk, (const char *path, char *into, size_t room), (path, into, room))
RESOLVE(canonicalize_file_name, (const char *path), (path))
