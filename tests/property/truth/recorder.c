/* A compiler that compiles nothing: its object is a text of all that it read, in order.
 *
 * It finds headers as gcc does (beside the includer for "x", then -iquote, -I, CPATH, -isystem,
 * CPLUS_INCLUDE_PATH, -idirafter, folders passed over), answers __has_include, writes depfiles,
 * and "links" by joining objects and the libraries that -L and -l find.
 *
 * Built with -DIDENTITY="..." (of one length in all builds, so that two compilers differ in content
 * alone), -DLOG="..." (a line for each compile) and -DCONTROL="..." (where that file is, the compile
 * that takes it away plays the user: its first byte says when, `e` before the source is read or `l`
 * after all was; then a path, a newline and what the user writes there). Log and control are the
 * instruments of a test and nobody's input: raw system calls go past whatever watches the library.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MANY = 256, DEEP = 40, LONG = 4096 };
static const char identity[] = IDENTITY;
static char *text, *rule;
static size_t text_size, rule_size;
static FILE *out, *dep;
static const char *maps[MANY], *folders[MANY], *quoted[MANY], *last[MANY], *system_[MANY];
static int n_maps, n_folders, n_quoted, n_last, n_system;

static void die(const char *what, const char *name) {
    fprintf(stderr, "recorder: %s: %s\n", what, name);
    exit(1);
}

/* As -ffile-prefix-map: the last one that fits wins. */
static const char *mapped(const char *path) {
    static char found[LONG];
    for (int n = n_maps; n--;) {
        const char *equals = strchr(maps[n], '=');
        size_t length = (size_t)(equals - maps[n]);
        if (!strncmp(path, maps[n], length)) {
            snprintf(found, LONG, "%s%s", equals + 1, path + length);
            return found;
        }
    }
    return path;
}

/* A prerequisite of the depfile, as gcc writes it. */
static void depends_on(const char *path) {
    fputs(" \\\n ", dep);
    for (; *path; path++) {
        if (strchr(" #$", *path)) fputc(*path == '$' ? '$' : '\\', dep);
        fputc(*path, dep);
    }
}

static char *contents(const char *path) {
    struct stat st;
    int fd = open(path, O_RDONLY);
    if (fd < 0) return NULL;
    if (fstat(fd, &st) || S_ISDIR(st.st_mode)) {
        close(fd);
        return NULL;
    }
    char *bytes = calloc(1, (size_t)st.st_size + 1);
    ssize_t got = read(fd, bytes, (size_t)st.st_size);
    close(fd);
    if (got < 0) die("cannot be read", path);
    return bytes;
}

static void words_of(const char *name, const char **into, int *count) {
    char *value = getenv(name);
    if (!value || !*value) return;
    for (char *word = strtok(strdup(value), ":"); word; word = strtok(NULL, ":"))
        into[(*count)++] = word;
}

/* Where an include leads: its content, and its path in `found`; NULL where it leads nowhere. */
static char *resolved(const char *name, int in_quotes, const char *includer, char *found) {
    char *bytes;
    if (*name == '/') return snprintf(found, LONG, "%s", name), contents(name);
    if (in_quotes) {
        const char *slash = strrchr(includer, '/');
        snprintf(found, LONG, "%.*s%s", slash ? (int)(slash - includer + 1) : 0, includer, name);
        if ((bytes = contents(found))) return bytes;
    }
    const struct { const char **these; int count; } all[] = {
        {quoted, in_quotes ? n_quoted : 0}, {folders, n_folders}, {system_, n_system}, {last, n_last}};
    for (int group = 0; group < 4; group++)
        for (int n = 0; n < all[group].count; n++) {
            snprintf(found, LONG, "%s/%s", all[group].these[n], name);
            if ((bytes = contents(found))) return bytes;
        }
    return NULL;
}

static int asked(const char *line, const char *directive, char *name, int *in_quotes) {
    size_t length = strlen(directive);
    if (strncmp(line, directive, length)) return 0;
    line += length;
    *in_quotes = *line == '"';
    const char *end = strchr(line + 1, *in_quotes ? '"' : '>');
    if (!end) return 0;
    snprintf(name, LONG, "%.*s", (int)(end - line - 1), line + 1);
    return 1;
}

static void take(const char *path, char *bytes, int depth) {
    char name[LONG], found[LONG];
    int in_quotes, skipping = 0;
    if (depth > DEEP) die("includes too deep", path);
    fprintf(out, "file %s\n", mapped(path));
    depends_on(path);
    for (char *line = bytes, *end; *line; line = end) {
        end = line + strcspn(line, "\n");
        if (*end) *end++ = 0;
        if (asked(line, "#if __has_include(", name, &in_quotes)) {
            char *there = resolved(name, in_quotes, path, found);
            fprintf(out, "has %s %d\n", name, there != NULL);
            skipping = !there;
            free(there);
        } else if (!strcmp(line, "#endif")) {
            skipping = 0;
        } else if (skipping) {
            continue;
        } else if (asked(line, "#include ", name, &in_quotes)) {
            char *there = resolved(name, in_quotes, path, found);
            if (!there) die("no such file", name);
            take(found, there, depth + 1);
            free(there);
        } else {
            fprintf(out, "| %s\n", line);
        }
    }
    fprintf(out, "end\n");
}

static void play_the_user(char when) {
    static char order[1 << 16];
    long fd = syscall(SYS_openat, AT_FDCWD, CONTROL, O_RDONLY);
    if (fd < 0) return;
    long got = syscall(SYS_read, fd, order, sizeof order - 1);
    syscall(SYS_close, fd);
    if (got <= 0 || order[0] != when || syscall(SYS_unlinkat, AT_FDCWD, CONTROL, 0)) return;
    char *newline = strchr(order, '\n');
    if (!newline) return;
    *newline = 0;
    fd = syscall(SYS_openat, AT_FDCWD, order + 1, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    syscall(SYS_write, fd, newline + 1, strlen(newline + 1));
    syscall(SYS_close, fd);
}

static void log_line(const char *source, const char *defined) {
    char line[LONG];
    int length = snprintf(line, LONG, "%s%s\n", mapped(source), defined);
    long fd = syscall(SYS_openat, AT_FDCWD, LOG, O_WRONLY | O_CREAT | O_APPEND, 0666);
    syscall(SYS_write, fd, line, (size_t)length);
    syscall(SYS_close, fd);
}

static void write_all(const char *path, const char *bytes, size_t size) {
    FILE *file = fopen(path, "w");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file)) die("cannot write", path);
}

static void link_library(const char *name) {
    char path[LONG];
    for (int n = 0; n < n_folders; n++)
        for (int archive = 0; archive < 2; archive++) {
            snprintf(path, LONG, "%s/lib%s.%s", folders[n], name, archive ? "a" : "so");
            char *bytes = contents(path);
            if (!bytes) continue;
            fprintf(out, "library lib%s.%s\n%s\n", name, archive ? "a" : "so", bytes);
            depends_on(path);
            free(bytes);
            return;
        }
    die("cannot find -l", name);
}

static int answers(const char *question) {
    if (!strcmp(question, "-dumpversion") || !strcmp(question, "-dumpfullversion")) puts("1.0.0");
    else if (!strcmp(question, "-dumpmachine")) puts("recorder-any-thing");
    else if (!strcmp(question, "--help")) puts("--dependency-file");
    else if (!strcmp(question, "--version")) printf("recorder %s\n", identity);
    else if (!strncmp(question, "-print-prog-name=ld", 19)) {
        char self[LONG] = "";
        if (readlink("/proc/self/exe", self, LONG - 1) > 0) puts(self);
    } else if (!strncmp(question, "-print-", 7)) {
        const char *equals = strchr(question, '=');
        printf("/nonexistent/%s\n", equals ? equals + 1 : "");
    } else return 0;
    return 1;
}

/* The value of an option that may stand in the same word or be the next one. */
static const char *value_of(const char *word, const char *option, char **argv, int *n) {
    size_t length = strlen(option);
    if (strncmp(word, option, length)) return NULL;
    return word[length] ? word + length : argv[++*n];
}

int main(int argc, char **argv) {
    const char *sources[MANY], *libraries[MANY], *forced[MANY], *target = "a.out", *depfile = NULL;
    int n_sources = 0, n_libraries = 0, n_forced = 0, compiles = 0;
    char defined[LONG] = "", found[LONG];
    const char *value;

    if (argc == 2 && answers(argv[1])) return 0;
    out = open_memstream(&text, &text_size);
    dep = open_memstream(&rule, &rule_size);
    fprintf(out, "recorder %s\n", identity);
    for (int n = 1; n < argc; n++) {
        char *word = argv[n];
        if (!strcmp(word, "-c")) compiles = 1;
        else if (!strcmp(word, "-MD")) continue;
        else if (!strcmp(word, "-o")) target = argv[++n];
        else if (!strcmp(word, "-MF")) depfile = argv[++n];
        else if (!strncmp(word, "-Wl,--dependency-file=", 22)) depfile = word + 22;
        else if (!strncmp(word, "-ffile-prefix-map=", 18)) maps[n_maps++] = word + 18;
        else if (!strncmp(word, "-frandom-seed=", 14)) continue;
        else if ((value = value_of(word, "-isystem", argv, &n))) system_[n_system++] = value;
        else if ((value = value_of(word, "-iquote", argv, &n))) quoted[n_quoted++] = value;
        else if ((value = value_of(word, "-idirafter", argv, &n))) last[n_last++] = value;
        else if ((value = value_of(word, "-include", argv, &n))) forced[n_forced++] = value;
        else if ((value = value_of(word, "-I", argv, &n))) folders[n_folders++] = value;
        else if ((value = value_of(word, "-L", argv, &n))) folders[n_folders++] = value;
        else if ((value = value_of(word, "-l", argv, &n))) libraries[n_libraries++] = value;
        else if (*word != '-') sources[n_sources++] = word;
        else {
            fprintf(out, "word %s\n", word);
            if (!strncmp(word, "-D", 2) || !strncmp(word, "-march", 6))
                snprintf(defined + strlen(defined), LONG - strlen(defined), " %s", word);
        }
    }
    if (!n_sources) die("no input files", "");
    fprintf(dep, "%s:", target);
    if (compiles) {
        words_of("CPATH", folders, &n_folders);
        words_of("CPLUS_INCLUDE_PATH", system_, &n_system);
        log_line(sources[0], defined);
        play_the_user('e');
    }
    for (int n = 0; n < n_forced; n++) {
        char *bytes = resolved(forced[n], 1, "./x", found);
        if (!bytes) die("no such file", forced[n]);
        take(found, bytes, 0);
    }
    for (int n = 0; n < n_sources; n++) {
        char *bytes = contents(sources[n]);
        if (!bytes) die("no such file", sources[n]);
        if (compiles) take(sources[n], bytes, 0);
        else fputs(bytes, out);
    }
    for (int n = 0; n < n_libraries; n++) link_library(libraries[n]);
    if (compiles) play_the_user('l');
    fclose(out);
    fputs("\n", dep);
    fclose(dep);
    write_all(target, text, text_size);
    if (depfile) write_all(depfile, rule, rule_size);
    return 0;
}
