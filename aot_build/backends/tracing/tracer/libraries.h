/* Calls that load libraries, and look up environment variables. */
#include <sys/auxv.h>

static int tell_library(struct dl_phdr_info *library, size_t size, void *count)
{
    (void)size;
    if (++*(unsigned *)count > known_libraries && strchr(library->dlpi_name, '/'))
        tell(0, 'l', AT_FDCWD, library->dlpi_name);
    return 0;
}

/* What dlopen loaded since the last time: afterwards, as it must be called by its caller. */
static void tell_libraries(void)
{
    unsigned count = 0;
    if (listening())
        dl_iterate_phdr(tell_library, &count);
}

static __attribute__((noinline)) void before_dlopen(const char *name)
{
    int error = errno;
    tell_libraries();
    if (name && strchr(name, '/') && listening())
        tell(is_there(AT_FDCWD, name) ? 0 : (errno = ENOENT, -1), 'l', AT_FDCWD, name);
    errno = error;
}

/* The loader searches by the RUNPATH of whoever it returns to, so this must end in a jump. */
HOOK(void *, dlopen, (const char *name, int mode))
{
    before_dlopen(name);
    return NEXT(dlopen)(name, mode);
}

HOOK(int, dlclose, (void *library))
{
    tell_libraries();
    return NEXT(dlclose)(library);
}

static const char *value_of(const char *name)
{
    struct head *log = listening();
    size_t length = strlen(name);
    int error = errno;
    if (log && length && !names(name, "LD_PRELOAD") && !names(name, "AOT_TRACE_"))
        append(log, 'e', name, length);
    errno = error;
    for (char **entry = environ; entry && *entry && length; entry++)
        if (!strncmp(*entry, name, length) && (*entry)[length] == '=')
            return *entry + length + 1;
    return NULL;
}

/* Not libc's: allocators ask from within the look-up of the next definition. */
HOOK(char *, getenv, (const char *name))
{
    return (char *)value_of(name);
}

HOOK(char *, secure_getenv, (const char *name))
{
    return getauxval(AT_SECURE) ? NULL : (char *)value_of(name);
}
