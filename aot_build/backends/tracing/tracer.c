/* Loaded before all other libraries (LD_PRELOAD): tells a log what files a program looks at.
 *
 * Each hook below stands before a function of libc, calls it, and writes what came of it to the
 * log that AOT_TRACE_LOG names, or that `aot_trace_begin` was given. Without a log they only call.
 *
 *   r  opened for reading                      w  written, made, renamed, removed, changed
 *   s  found: stat, access, readlink, a folder opened          d  folder listed
 *   a  looked for and not there                e  environment variable looked up
 *   x  program executed                        u  the same, but nothing can be seen of it
 *   l  library that dlopen found
 *
 * Paths are written as they were said, made absolute and nothing else. What libc does inside (the
 * opens of its locales, the search of a bare library name) and direct system calls pass unseen, as
 * do look-ups by walking `environ`: shells and Python do that.
 *
 * Symbols are given as assembler names, so no declaration of any libc's headers is in the way.
 */
#define _GNU_SOURCE
#include "tracer/log.h"
#include "tracer/program.h"
#include "tracer/process.h"
#include "tracer/files.h"
#include "tracer/folders.h"
#include "tracer/programs.h"
#include "tracer/libraries.h"

/* Begin to write to a log that records.py made; `muted`: only what is executed. 0, or -1. */
PUBLIC int aot_trace_begin(const char *path, int muted)
{
    log_of_process();
    struct head *before = LOAD(&retired);
    STORE(&retired, NULL);
    if (before)
        munmap(before, before->capacity);
    STORE(&process_muted, muted);
    return use_log(path);
}

PUBLIC void aot_trace_end(void)
{
    tell_libraries();
    STORE(&retired, LOAD(&active));
    STORE(&active, NULL);
}

/* Nothing of this thread is told while the sum is above zero. */
PUBLIC void aot_trace_mute(int by)
{
    thread_muted += by;
}

/* A program that was built with AddressSanitizer ends at once where a library comes before the
   sanitizer's own, unless this says that it may: its runtime finds the first of that name. */
PUBLIC const char *__asan_default_options(void)
{
    return "verify_asan_link_order=0";
}

__attribute__((constructor)) static void at_start(void)
{
    log_of_process();
}

__attribute__((destructor)) static void at_end(void)
{
    tell_libraries();
}
