/* Calls that list folders, or walk through them. */
#include <dirent.h>
#include <ftw.h>
#include <glob.h>
#ifdef __GLIBC__
#include <fts.h>
#endif

HOOK(DIR *, opendir, (const char *path))
{
    DIR *answer = NEXT(opendir)(path);
    tell(answer ? 0 : -1, 'd', AT_FDCWD, path);
    return answer;
}

HOOK(DIR *, fdopendir, (int folder))
{
    DIR *answer = NEXT(fdopendir)(folder);
    if (answer)
        record_descriptor('d', folder);
    return answer;
}

HOOK(ssize_t, getdents64, (int folder, void *into, size_t size))
{
    ssize_t answer = NEXT(getdents64)(folder, into, size);
    if (answer >= 0)
        record_descriptor('d', folder);
    return answer;
}

HERE(int, scandir, 'd', WITH(void *into, void *filter, void *order), WITH(into, filter, order))
HERE(int, scandir64, 'd', WITH(void *into, void *filter, void *order), WITH(into, filter, order))
AT(int, scandirat, 'd', WITH(void *into, void *filter, void *order), WITH(into, filter, order))
AT(int, scandirat64, 'd', WITH(void *into, void *filter, void *order), WITH(into, filter, order))

/* A walk of libc's own calls back with each path: whoever asked is called from there. */
typedef int visit_path(const char *path, const void *found, int type, void *where);
static __thread visit_path *visitor;

static int visit(const char *path, const void *found, int type, void *where)
{
    tell(0, type == FTW_D || type == FTW_DP ? 'd' : 's', AT_FDCWD, path);
    return visitor(path, found, type, where);
}

#define WALK(symbol, parameters, arguments, options)                                                \
    HOOK(int, symbol, parameters)                                                                  \
    {                                                                                              \
        struct head *log = listening();                                                            \
        visit_path *outer = visitor;                                                               \
        if (!log)                                                                                  \
            return NEXT(symbol) arguments;                                                         \
        /* Its paths stay relative to a folder that it leaves. */                                  \
        if (((options) & FTW_CHDIR) && *path != '/')                                               \
            OR(&log->flags, TORN);                                                                 \
        visitor = each;                                                                            \
        each = visit;                                                                              \
        int answer = NEXT(symbol) arguments;                                                       \
        visitor = outer;                                                                           \
        if (answer < 0)                                                                            \
            tell(answer, 's', AT_FDCWD, path);                                                     \
        return answer;                                                                             \
    }
WALK(ftw, (const char *path, visit_path *each, int depth), (path, each, depth), 0)
WALK(ftw64, (const char *path, visit_path *each, int depth), (path, each, depth), 0)
WALK(nftw, (const char *path, visit_path *each, int depth, int flags), (path, each, depth, flags),
     flags)
WALK(nftw64, (const char *path, visit_path *each, int depth, int flags), (path, each, depth, flags),
     flags)

#ifdef __GLIBC__
/* `fts_accpath` holds from the folder that the walk has gone to. */
#define READ_WALK(symbol)                                                                          \
    HOOK(FTSENT *, symbol, (FTS * walk))                                                           \
    {                                                                                              \
        FTSENT *answer = NEXT(symbol)(walk);                                                       \
        if (answer && answer->fts_info == FTS_NS)                                                  \
            tell(0, answer->fts_errno == ENOENT ? 'a' : 's', AT_FDCWD, answer->fts_accpath);       \
        else if (answer && answer->fts_info != FTS_DP)                                             \
            tell(0, answer->fts_info == FTS_D ? 'd' : 's', AT_FDCWD, answer->fts_accpath);         \
        return answer;                                                                             \
    }
READ_WALK(fts_read)
READ_WALK(fts64_read)

static void close_folder(void *folder)
{
    closedir(folder);
}

/* With functions of the caller's, glob opens and looks through those: these are ours. */
#define MATCH(symbol)                                                                              \
    HOOK(int, symbol, (const char *pattern, int flags, void *failed, glob_t *into))                \
    {                                                                                              \
        if (listening() && !(flags & GLOB_ALTDIRFUNC)) {                                           \
            flags |= GLOB_ALTDIRFUNC;                                                              \
            into->gl_opendir = (void *(*)(const char *))hook_opendir;                              \
            into->gl_readdir = (struct dirent * (*)(void *)) readdir;                              \
            into->gl_closedir = close_folder;                                                      \
            into->gl_stat = (int (*)(const char *, struct stat *))hook_stat;                       \
            into->gl_lstat = (int (*)(const char *, struct stat *))hook_lstat;                     \
        }                                                                                          \
        return NEXT(symbol)(pattern, flags, failed, into);                                         \
    }
MATCH(glob)
MATCH(glob64)
#endif
