"""Each call that the tracer stands before, made by one C program, and what was seen of it."""

import pytest

from aot_build.backends.tracing.library import Library
from tests.backends.tracing.traced import Tracer

# What is done in a folder of its own with the files `there` and `exe`, the folder `sub` with the
# file `in`, `link` to `there` and `dangling` to nothing; P("x") is the path of x, N that of `none`.
CALLS = {
    "open": ("open(P(there), 0); open(N, 0); open(P(there/x), 0)", "r there, a none, a there/x"),
    "open_folder": ("open(P(sub), 0); open(P(there), O_DIRECTORY)", "s sub, s there"),
    "open_path": ("open(P(there), O_PATH)", "s there"),
    "open_nofollow": ("open(P(link), O_NOFOLLOW)", "s link"),
    "open_write": ("open(P(there), O_WRONLY)", "w there"),
    "open_both": ("open(P(there), O_RDWR)", "r there, w there"),
    "open_truncate": ("open(P(there), O_RDWR | O_TRUNC)", "w there"),
    "open_create": ("open(N, O_RDWR | O_CREAT, 0644)", "w none"),
    "open_create_there": ("open(P(there), O_RDWR | O_CREAT, 0644)", "r there, w there"),
    "open_create_read": ("open(P(there), O_CREAT, 0644); open(N, O_CREAT, 0644)",
                         "r there, w none"),
    "open_exclusive": ("open(N, O_WRONLY | O_CREAT | O_EXCL, 0644);"
                       "open(P(there), O_WRONLY | O_CREAT | O_EXCL, 0644)", "w none, s there"),
    "open64": ("open64(P(there), 0); open64(N, 0)", "r there, a none"),
    "openat": ("openat(F, \"there\", 0); openat(F, \"none\", 0); openat(AT_FDCWD, P(sub/in), 0)",
               "s ., r there, a none, r sub/in"),
    "openat64": ("openat64(F, \"there\", O_WRONLY)", "s ., w there"),
    "open_2": ("__open_2(P(there), 0); __openat_2(F, \"none\", 0)", "r there, s ., a none"),
    "open64_2": ("__open64_2(P(there), 0); __openat64_2(AT_FDCWD, N, 0)", "r there, a none"),
    "creat": ("creat(N, 0644); creat64(P(there), 0644)", "w none, w there"),
    "tmpfile": ("open(P(sub), O_TMPFILE | O_RDWR, 0600)", "s sub"),
    "fopen": ("fopen(P(there), \"r\"); fopen(N, \"r\"); fopen64(P(sub/in), \"rb\")",
              "r there, a none, r sub/in"),
    "fopen_modes": ("fopen(P(there), \"r+\"); fopen(P(sub/in), \"w\"); fopen(P(exe), \"a\");"
                    "fopen(P(link), \"a+\"); fopen(N, \"wx\")",
                    "r there, w there, w sub/in, w exe, r link, w link, w none"),
    "freopen": ("freopen(P(there), \"r\", stdin); freopen64(N, \"w\", stdin)", "r there, w none"),
    "stat": ("stat(P(there), &S); stat(N, &S); stat(P(dangling), &S); stat64(P(link), &S)",
             "s there, a none, a dangling, s link"),
    "lstat": ("lstat(P(dangling), &S); lstat64(N, &S)", "s dangling, a none"),
    "fstatat": ("fstatat(F, \"there\", &S, 0); fstatat64(F, \"none\", &S, 0)",
                "s ., s there, a none"),
    "fstatat_empty": ("fstatat(open(P(there), 0), \"\", &S, AT_EMPTY_PATH)", "r there"),
    "old_stat": ("__xstat(1, P(there), &S); __lxstat(1, P(link), &S); __fxstatat(1, F, \"none\","
                 " &S, 0)", "s there, s link, s ., a none"),
    "old_stat64": ("__xstat64(1, P(there), &S); __lxstat64(1, N, &S); __fxstatat64(1, F, \"sub\","
                   " &S, 0)", "s there, a none, s ., s sub"),
    "statx": ("statx(F, \"there\", 0, STATX_ALL, &X); statx(AT_FDCWD, N, 0, STATX_ALL, &X)",
              "s ., s there, a none"),
    "statfs": ("char room[4096]; statfs(P(there), room); statvfs(N, room)", "s there, a none"),
    "access": ("access(P(there), R_OK); access(N, F_OK)", "s there, a none"),
    "eaccess": ("eaccess(P(there), R_OK); euidaccess(N, F_OK)", "s there, a none"),
    "faccessat": ("faccessat(F, \"there\", R_OK, 0); faccessat(F, \"none\", F_OK, AT_EACCESS)",
                  "s ., s there, a none"),
    "readlink": ("readlink(P(link), B, 99); readlink(P(there), B, 99); readlink(N, B, 99)",
                 "s link, s there, a none"),
    "readlinkat": ("readlinkat(F, \"link\", B, 99)", "s ., s link"),
    "readlink_chk": ("__readlink_chk(P(link), B, 99, 99); __readlinkat_chk(F, \"none\", B, 99, 99)",
                     "s link, s ., a none"),
    "getxattr": ("getxattr(P(there), \"user.x\", B, 9); listxattr(N, B, 9)", "s there, a none"),
    "realpath": ("realpath(P(sub/../link), 0); realpath(N, 0)",
                 "s .., s ., s sub, s link, s there, a none"),
    "realpath_chk": ("__realpath_chk(P(link), B, 4096)", "s .., s ., s link, s there"),
    "canonicalize": ("canonicalize_file_name(P(sub/in))", "s .., s ., s sub, s sub/in"),
    "opendir": ("opendir(P(sub)); opendir(N); opendir(P(there))", "d sub, a none, s there"),
    "fdopendir": ("fdopendir(open(P(sub), 0))", "s sub, d sub"),
    "getdents64": ("getdents64(open(P(sub), 0), B, 4096)", "s sub, d sub"),
    "scandir": ("struct dirent **e; scandir(P(sub), &e, 0, 0); scandir64(N, &e, 0, 0)",
                "d sub, a none"),
    "scandirat": ("struct dirent **e; scandirat(F, \"sub\", &e, 0, 0)", "s ., d sub"),
    "ftw": ("ftw(P(sub), pass, 4); ftw64(N, pass, 4)", "d sub, s sub/in, a none"),
    "nftw": ("nftw(P(sub), pass4, 4, FTW_PHYS); nftw64(N, pass4, 4, 0)",
             "d sub, s sub/in, a none"),
    "fts": ("char *paths[] = {P(sub), N, 0}; FTS *w = fts_open(paths, FTS_PHYSICAL, 0);"
            "while (fts_read(w)); fts_close(w)", "d sub, s sub/in, a none"),
    "glob": ("glob_t g; glob(P(s*/i*), 0, 0, &g); printf(\"%zu\", g.gl_pathc); globfree(&g)",
             "d ., a dangling, s link, d sub"),
    "glob64": ("glob64_t g; glob64(P(sub/non*), 0, 0, &g)", "d sub"),
    "mkdir": ("mkdir(N, 0755); mkdir(P(sub), 0755); mkdirat(F, \"x\", 0755)",
              "w none, s sub, s ., w x"),
    "rmdir": ("rmdir(N); rmdir(P(sub)); rmdir(P(there))", "a none, s sub, s there"),
    "unlink": ("unlink(P(there)); unlink(N); unlinkat(F, \"exe\", 0); remove(P(link))",
               "w there, a none, s ., w exe, w link"),
    "rename": ("rename(P(there), N); rename(P(there), N); renameat(F, \"exe\", F, \"new\")",
               "w there, w none, a there, s ., w exe, w new"),
    "rename_fails": ("rename(P(there), P(gone/x)); link(P(there), P(exe)); rename(N, P(exe))",
                     "a gone/x, s exe, a none"),
    "renameat2": ("renameat2(F, \"there\", F, \"exe\", RENAME_EXCHANGE)", "s ., w there, w exe"),
    "link": ("link(P(there), N); linkat(F, \"exe\", F, \"new\", 0)",
             "r there, w none, s ., r exe, w new"),
    "symlink": ("symlink(P(there), N); symlinkat(\"there\", F, \"new\")", "w none, s ., w new"),
    "truncate": ("truncate(P(there), 0); truncate64(N, 0)", "w there, a none"),
    "mknod": ("mkfifo(N, 0644); mknod(P(x), S_IFREG, 0); mknodat(F, \"y\", S_IFREG, 0);"
              "mkfifoat(F, \"z\", 0644)", "w none, w x, s ., w y, w z"),
    "chmod": ("chmod(P(there), 0600); fchmodat(F, \"none\", 0600, 0)", "w there, s ., a none"),
    "chown": ("chown(P(there), -1, -1); lchown(P(link), -1, -1); fchownat(F, \"none\", 0, 0, 0)",
              "w there, w link, s ., a none"),
    "utime": ("utime(P(there), 0); utimes(N, 0); lutimes(P(link), 0); futimesat(F, \"exe\", 0);"
              "utimensat(F, \"sub\", 0, 0)", "w there, a none, w link, s ., w exe, w sub"),
    "descriptor": ("futimens(open(P(there), 0), 0); fchmod(open(P(exe), 0), 0600);"
                   "fchown(F, -1, -1); futimes(open(P(sub), 0), 0)",
                   "r there, w there, r exe, w exe, s ., w ., s sub, w sub"),
    "mkstemp": ("char *p = P(t-XXXXXX); mkstemp(p); rename(p, P(x)); p = P(t-XXXXXX.c);"
                "mkstemps(p, 2); rename(p, P(y)); p = P(t-XXXXXX); mkostemp64(p, 0);"
                "rename(p, P(z)); p = P(t-XXXXXX); mkdtemp(p); rename(p, P(d))",
                "w x, w y, w z, w d"),
    "getenv": ("getenv(\"AOT_ONE\"); secure_getenv(\"AOT_TWO\"); getenv(\"\")", ""),
    "spawn_file": ("posix_spawn_file_actions_t a; posix_spawn_file_actions_init(&a);"
                   "posix_spawn_file_actions_addopen(&a, 0, P(there), 0, 0);"
                   "posix_spawn_file_actions_addopen(&a, 1, P(exe), O_WRONLY, 0);"
                   "posix_spawn_file_actions_addopen(&a, 2, N, 0, 0)", "r there, w exe, a none"),
}  # fmt: skip

HEAD = r"""
#include <sys/types.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
static const char *folder;
static char *path(const char *name) {
    char *whole;
    asprintf(&whole, "%s/%s", folder, name);
    return whole;
}
#define P(name) path(#name)
#define N P(none)
#define F open(folder, O_RDONLY)
static struct stat S;
static struct statx X;
static char B[4096];
static int pass() { return 0; }
static int pass4() { return 0; }
"""


def source() -> str:
    cases = [f'folder = "{name}"; {{ {code}; }} errno = 0;' for name, (code, _) in CALLS.items()]
    # A found file leaves no error behind: errno is kept over what the tracer does.
    check = 'folder = "open"; access(N, 0); return errno == ENOENT ? 0 : 1;'
    return f"{HEAD}int main() {{ {' '.join(cases)} {check} }}"


@pytest.fixture(scope="module")
def seen(
    traced_by: Library, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], list[tuple[str, str]]]:
    """What was seen in the folder of each call; and all records."""
    folder = tmp_path_factory.mktemp("calls")
    tracer = Tracer(folder / "project", traced_by)
    for name in CALLS:
        tracer.write(f"{name}/there", "text")
        tracer.write(f"{name}/exe", mode=0o755)
        tracer.write(f"{name}/sub/in")
        (tracer.folder / name / "link").symlink_to("there")
        (tracer.folder / name / "dangling").symlink_to("nothing")
    log = tracer.run([tracer.compile("calls", source())])
    assert log.whole, log.reason
    assert tracer.out == "1"
    return tracer.below(log), list(log.records)


def named(record: str, call: str) -> str | None:
    """A record as CALLS has it, where it is about that call."""
    kind, path = record.split(" ", 1)
    if path.rstrip("/") == call:
        return f"{kind} ."
    if path.startswith(f"{call}/") and "t-" not in path:
        return f"{kind} {path.removeprefix(f'{call}/')}"
    return None


@pytest.mark.compiler
@pytest.mark.parametrize("call", CALLS)
def test_call(call: str, seen: tuple[list[str], list[tuple[str, str]]]) -> None:
    found = [each for record in seen[0] if (each := named(record, call))]
    expected = [each for each in CALLS[call][1].split(", ") if each and each != "s .."]
    assert found == expected


@pytest.mark.compiler
def test_variables(seen: tuple[list[str], list[tuple[str, str]]]) -> None:
    names = [path for kind, path in seen[1] if kind == "e"]
    assert "AOT_ONE" in names
    assert "AOT_TWO" in names
    assert "" not in names


LIBRARIES = r"""
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **words) {
    if (words[1][0] == '/' || words[1][0] == '.')
        return !dlopen(words[1], RTLD_NOW);
    void *outer = dlopen("./outer.so", RTLD_NOW);
    int (*call)(const char *) = dlsym(outer, "call");
    return call(words[1]);
}
"""
OUTER = (
    "#include <dlfcn.h>\nint call(const char *name) { void *found = dlopen(name, 2);"
    " return found ? dlclose(found) : 1; }"
)


@pytest.mark.compiler
def test_a_library_is_found_by_the_runpath_of_who_asks(tracer: Tracer) -> None:
    """The loader searches by its caller's RUNPATH: the tracer must not be the caller."""
    tracer.compile("deep.so", "int deep;", "-shared", "-fPIC")
    (tracer.folder / "lib").mkdir()
    (tracer.folder / "deep.so").rename(tracer.folder / "lib/libdeep.so")
    runpath = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib"
    tracer.compile("outer.so", OUTER, "-shared", "-fPIC", runpath)
    program = tracer.compile("main", LIBRARIES)
    assert "l ./lib/libdeep.so" in tracer.below(tracer.run([program, "libdeep.so"]))
    assert "a ./none.so" in tracer.below(tracer.run([program, "./none.so"], status=1))


@pytest.mark.compiler
def test_libraries_of_the_program_itself(tracer: Tracer) -> None:
    """Those of the system are not told."""
    tracer.compile("libdeep.so", "int deep;", "-shared", "-fPIC")
    place = [f"-L{tracer.folder}", f"-Wl,-rpath,{tracer.folder}"]
    program = tracer.compile("main", LIBRARIES, *place, "-Wl,--no-as-needed", "-ldeep")
    log = tracer.run([program, "./none.so"], status=1)
    assert tracer.below(log) == ["l libdeep.so", "a ./none.so"]
    assert not [path for kind, path in log.records if path.startswith(("/lib", "/usr/lib"))]
