/* Calls that execute programs. */
#include <spawn.h>

/* Before a program is executed, muted or not: what it is. True: it is expected to arrive. */
static bool announce(struct head *log, int folder, const char *path)
{
    char interpreter[256], kind = 0;
    int error = errno;
    for (int depth = 0; depth < INTERPRETERS && path && *path; depth++) {
        kind = kind_of_program(folder, path, interpreter);
        if (kind)
            record(log, kind, folder, path);
        if (!*interpreter)
            break;
        path = memcpy(alloca(sizeof interpreter), interpreter, sizeof interpreter);
        folder = AT_FDCWD;
    }
    if (kind == 'x')
        ADD(&log->announced, 1);
    errno = error;
    return kind == 'x';
}

/* As `announce`, for what the search path has under a name; libc does the same search again. */
static bool announce_found(struct head *log, const char *name)
{
    char path[PATH_MAX + NAME_MAX + 2];
    const char *folder = NULL;
    if (!name || !*name || strchr(name, '/'))
        return announce(log, AT_FDCWD, name);
    for (char **entry = environ; entry && *entry && !folder; entry++)
        if (names(*entry, "PATH="))
            folder = *entry + strlen("PATH=");
    for (folder = folder ? folder : "/bin:/usr/bin";; folder++) {
        size_t length = strcspn(folder, ":");
        struct stat found;
        if (length + 1 + strlen(name) < sizeof path) {
            memcpy(path, folder, length);
            path[length] = '/';
            strcpy(length ? path + length + 1 : path, name);
            int error = errno;
            errno = 0;
            bool fits = !syscall(SYS_faccessat, AT_FDCWD, path, X_OK) &&
                        !syscall(SYS_newfstatat, AT_FDCWD, path, &found, 0) &&
                        S_ISREG(found.st_mode);
            char kind = fits ? 0 : kind_of_failure(AT_FDCWD, path);
            errno = error;
            if (fits)
                return announce(log, AT_FDCWD, path);
            record(log, kind == 'a' ? 'a' : 's', AT_FDCWD, path);
        }
        folder += length;
        if (!*folder)
            return false;
    }
}

/* Execute with an environment that carries the log; where that fails, nobody will arrive. */
#define EXECUTE(symbol, expected, envp, failed, ...)                                               \
    struct head *log = log_of_process();                                                           \
    if (!log)                                                                                      \
        return NEXT(symbol)(__VA_ARGS__);                                                          \
    bool announced = expected;                                                                     \
    void *room = alloca(size_to_carry(envp));                                                      \
    envp = carry(room, envp, announced);                                                           \
    int answer = NEXT(symbol)(__VA_ARGS__);                                                        \
    if (announced && (failed))                                                                     \
        ADD(&log->announced, (uint32_t)-1);                                                        \
    return answer;

HOOK(int, execve, (const char *path, char *const argv[], char *const *envp))
{
    EXECUTE(execve, announce(log, AT_FDCWD, path), envp, true, path, argv, envp)
}

HOOK(int, execvpe, (const char *name, char *const argv[], char *const *envp))
{
    EXECUTE(execvpe, announce_found(log, name), envp, true, name, argv, envp)
}

HOOK(int, fexecve, (int file, char *const argv[], char *const *envp))
{
    char path[PATH_MAX + 1];
    path[folder_path(file, path)] = 0;
    EXECUTE(fexecve, announce(log, AT_FDCWD, path), envp, true, file, argv, envp)
}

HOOK(int, execveat, (int folder, const char *path, char *const argv[], char *const *envp, int flags))
{
    char whole[PATH_MAX + 1] = "";
    if (!*path && (flags & AT_EMPTY_PATH))
        whole[folder_path(folder, whole)] = 0;
    EXECUTE(execveat, announce(log, folder, *path ? path : whole), envp, true, folder, path,
            argv, envp, flags)
}

HOOK(int, posix_spawn,
     (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions,
      const posix_spawnattr_t *attributes, char *const argv[], char *const *envp))
{
    EXECUTE(posix_spawn, announce(log, AT_FDCWD, path), envp, answer, pid, path, actions,
            attributes, argv, envp)
}

HOOK(int, posix_spawnp,
     (pid_t * pid, const char *name, const posix_spawn_file_actions_t *actions,
      const posix_spawnattr_t *attributes, char *const argv[], char *const *envp))
{
    EXECUTE(posix_spawnp, announce_found(log, name), envp, answer, pid, name, actions, attributes,
            argv, envp)
}

HOOK(int, execv, (const char *path, char *const argv[]))
{
    return hook_execve(path, argv, environ);
}

HOOK(int, execvp, (const char *name, char *const argv[]))
{
    return hook_execvpe(name, argv, environ);
}

/* The words of a call, as an array in the caller's memory. */
#define WORDS                                                                                      \
    va_list rest;                                                                                  \
    size_t count = 1;                                                                              \
    va_start(rest, word);                                                                          \
    while (word && va_arg(rest, char *))                                                           \
        count++;                                                                                   \
    va_end(rest);                                                                                  \
    char *argv[count + 1];                                                                         \
    argv[0] = (char *)word;                                                                        \
    va_start(rest, word);                                                                          \
    for (size_t n = 1; word && n <= count; n++)                                                    \
        argv[n] = va_arg(rest, char *);

HOOK(int, execl, (const char *path, const char *word, ...))
{
    WORDS
    va_end(rest);
    return hook_execve(path, argv, environ);
}

HOOK(int, execlp, (const char *name, const char *word, ...))
{
    WORDS
    va_end(rest);
    return hook_execvpe(name, argv, environ);
}

HOOK(int, execle, (const char *path, const char *word, ...))
{
    WORDS
    char *const *envp = va_arg(rest, char *const *);
    va_end(rest);
    return hook_execve(path, argv, envp);
}

/* libc starts the shell itself, with `environ`; it may arrive, but is not waited for. */
static void tell_shell(void)
{
    struct head *log = log_of_process();
    if (!log)
        return;
    if (announce(log, AT_FDCWD, "/bin/sh"))
        ADD(&log->announced, (uint32_t)-1);
    hold_environment();
}

HOOK(int, system, (const char *command))
{
    tell_shell();
    return NEXT(system)(command);
}

HOOK(FILE *, popen, (const char *command, const char *type))
{
    tell_shell();
    return NEXT(popen)(command, type);
}

/* The child opens it, inside libc. */
HOOK(int, posix_spawn_file_actions_addopen,
     (posix_spawn_file_actions_t * actions, int file, const char *path, int flags, mode_t mode))
{
    int answer = NEXT(posix_spawn_file_actions_addopen)(actions, file, path, flags, mode);
    bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
    if (!answer && listening())
        tell(is_there(AT_FDCWD, path) || writes ? 0 : (errno = ENOENT, -1), writes ? 'w' : 'r',
             AT_FDCWD, path);
    return answer;
}
