/* What is about to be executed: whether it can be traced, and the environment that it gets. */
#include <alloca.h>
#include <elf.h>
#include <link.h>
#include <stdlib.h>
#include <sys/stat.h>

extern char **environ;

enum { INTERPRETERS = 5 };

#define PRELOAD "LD_PRELOAD="
#define PLACE "AOT_TRACE_LOG="

static char own_path[PATH_MAX]; /* this library */
static char log_place[sizeof PLACE + PATH_MAX];           /* AOT_TRACE_LOG=<path> */
static char announced_place[sizeof PLACE + 1 + PATH_MAX]; /* AOT_TRACE_LOG=+<path> */

#if defined __x86_64__
enum { MACHINE = EM_X86_64 };
#elif defined __aarch64__
enum { MACHINE = EM_AARCH64 };
#else
#error "the layouts used here were looked up for x86_64 and aarch64 alone"
#endif

/* Whether these notes are of a program of Go: it asks the kernel itself, and not libc. */
static bool is_go(int file, off_t at, size_t length)
{
    char notes[512];
    ElfW(Nhdr) note;
    ssize_t got = pread(file, notes, length < sizeof notes ? length : sizeof notes, at);
    for (ssize_t n = 0; n + (ssize_t)sizeof note + 4 <= got;) {
        memcpy(&note, notes + n, sizeof note);
        if (note.n_namesz == 4 && !memcmp(notes + n + sizeof note, "Go\0", 4))
            return true;
        n += (ssize_t)(sizeof note + ((note.n_namesz + 3) & ~3u) + ((note.n_descsz + 3) & ~3u));
    }
    return false;
}

/* Whether the dynamic loader loads it, and its files are opened by libc: an ELF program of our
   machine that names an interpreter. */
static bool is_dynamic(int file, const char *start, ssize_t length)
{
    ElfW(Ehdr) elf;
    ElfW(Phdr) part;
    bool dynamic = false;
    if (length < (ssize_t)sizeof elf)
        return false;
    memcpy(&elf, start, sizeof elf);
    if (elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_machine != MACHINE)
        return false;
    for (unsigned n = 0; n < elf.e_phnum; n++) {
        off_t at = (off_t)(elf.e_phoff + (uint64_t)n * elf.e_phentsize);
        if (pread(file, &part, sizeof part, at) != (ssize_t)sizeof part)
            return false;
        dynamic |= part.p_type == PT_INTERP;
        if (part.p_type == PT_NOTE && is_go(file, (off_t)part.p_offset, part.p_filesz))
            return false;
    }
    return dynamic;
}

/* Whether the loader will distrust its caller, as it then ignores LD_PRELOAD. */
static bool is_privileged(int file, const struct stat *found)
{
    if ((found->st_mode & S_ISUID) && found->st_uid != getuid())
        return true;
    if ((found->st_mode & S_ISGID) && (found->st_mode & S_IXGRP) && found->st_gid != getgid())
        return true;
    return getuid() && syscall(SYS_fgetxattr, file, "security.capability", NULL, 0) > 0;
}

/* The interpreter that a script's first line names. */
static void read_interpreter(const char *line, const char *end, char *interpreter)
{
    while (line < end && (*line == ' ' || *line == '\t'))
        line++;
    while (line < end && *line && !strchr(" \t\n", *line))
        *interpreter++ = *line++;
    *interpreter = 0;
}

/* What is executed by an open file; a script's interpreter is left in `interpreter`. */
static char kind_of_file(int file, char *interpreter)
{
    char start[256];
    struct stat found;
    if (syscall(SYS_fstat, file, &found) || !S_ISREG(found.st_mode) || !(found.st_mode & 0111))
        return 's';
    ssize_t length = pread(file, start, sizeof start, 0);
    if (length > 2 && !memcmp(start, "#!", 2))
        read_interpreter(start + 2, start + length, interpreter);
    else if (length > SELFMAG && !memcmp(start, ELFMAG, SELFMAG))
        return is_dynamic(file, start, length) && !is_privileged(file, &found) ? 'x' : 'u';
    return 'x';
}

/* 'x': executed and traced; 'u': executed unseen; 'a': not there; 's': there, but not to be
   executed; 0: none of these. `interpreter` has 256 bytes. */
static char kind_of_program(int folder, const char *path, char *interpreter)
{
    *interpreter = 0;
    int file = (int)syscall(SYS_openat, folder, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    if (file < 0) /* Execution needs no leave to read: what is in it cannot be told. */
        return errno == ENOENT || errno == ENOTDIR ? 'a' : errno == EACCES ? 'u' : 0;
    char kind = kind_of_file(file, interpreter);
    syscall(SYS_close, file);
    return kind;
}

static bool names(const char *entry, const char *prefix)
{
    return !strncmp(entry, prefix, strlen(prefix));
}

/* Whether a list for LD_PRELOAD begins with this library. */
static bool begins_with_own(const char *list)
{
    size_t length = strlen(own_path);
    return !strncmp(list, own_path, length) && (!list[length] || strchr(": ", list[length]));
}

/* How many bytes `carry` fills for this environment. */
static size_t size_to_carry(char *const envp[])
{
    size_t count = 3, text = sizeof PRELOAD + sizeof own_path + 1;
    for (; envp && *envp; envp++, count++)
        if (names(*envp, PRELOAD))
            text += strlen(*envp);
    return count * sizeof *envp + text;
}

/* An environment that differs in that the program will be traced, into memory of the caller.
   The caller is perhaps between vfork and exec: its memory is its parent's. */
static char **carry(void *memory, char *const envp[], bool announced)
{
    size_t count = 0, kept = 2;
    while (envp && envp[count])
        count++;
    char **carried = memory;
    char *text = (char *)(carried + count + 3);
    const char *others = "";
    for (size_t n = 0; n < count; n++) {
        if (names(envp[n], PRELOAD))
            others = envp[n] + strlen(PRELOAD);
        else if (!names(envp[n], PLACE))
            carried[kept++] = envp[n];
    }
    carried[kept] = NULL;
    carried[0] = text;
    carried[1] = announced ? announced_place : log_place;
    text = stpcpy(text, PRELOAD);
    if (!begins_with_own(others)) {
        text = stpcpy(text, own_path);
        if (*others)
            *text++ = ':';
    }
    stpcpy(text, others);
    return carried;
}

/* Have what libc itself starts (system, popen) find the library, whatever became of `environ`. */
static void hold_environment(void)
{
    const char *preloaded = NULL, *place = NULL;
    for (char **entry = environ; entry && *entry; entry++) {
        if (names(*entry, PRELOAD))
            preloaded = *entry + strlen(PRELOAD);
        else if (names(*entry, PLACE))
            place = *entry + strlen(PLACE);
    }
    const char *ours = log_place + strlen(PLACE);
    if (!place || strcmp(place, ours))
        setenv("AOT_TRACE_LOG", ours, 1);
    if (preloaded && begins_with_own(preloaded))
        return;
    char list[preloaded ? strlen(own_path) + strlen(preloaded) + 2 : strlen(own_path) + 1];
    char *end = stpcpy(list, own_path);
    if (preloaded && *preloaded)
        stpcpy(stpcpy(end, ":"), preloaded);
    setenv("LD_PRELOAD", list, 1);
}
