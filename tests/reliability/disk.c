/* Preloaded into a process: what it does to files below $DISK_BELOW is slow, refused, or without locks.
 *
 * DISK_FAIL_FROM=N refuses the N-th such operation and all later ones with errno DISK_ERRNO; DISK_SLOW_US=T makes
 * each take T microseconds longer; DISK_NO_FLOCK=1 answers flock as a file system that has none; DISK_COUNT=FILE
 * gets the number of operations when the process ends. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_long operations;
static pid_t first;

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

__attribute__((constructor)) static void begin(void) {
    first = getpid();
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("DISK_COUNT");
    FILE *file = path && getpid() == first ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%ld\n", operations);
        fclose(file);
    }
}

static int below(const char *path) {
    const char *folder = getenv("DISK_BELOW");
    return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int fd_below(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return below(path);
}

static int refused(int concerned) {
    if (!concerned) return 0;
    long count = atomic_fetch_add(&operations, 1) + 1, from = number("DISK_FAIL_FROM"), slow = number("DISK_SLOW_US");
    if (slow) usleep((useconds_t)slow);
    if (!from || count < from) return 0;
    errno = (int)number("DISK_ERRNO");
    return 1;
}

#define REAL(name, ...) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))(__VA_ARGS__)

ssize_t write(int fd, const void *data, size_t size) {
    return refused(fd_below(fd)) ? -1 : REAL(write, fd, data, size);
}

int fsync(int fd) { return refused(fd_below(fd)) ? -1 : REAL(fsync, fd); }

int rename(const char *from, const char *to) { return refused(below(to)) ? -1 : REAL(rename, from, to); }

int mkdir(const char *path, mode_t mode) { return refused(below(path)) ? -1 : REAL(mkdir, path, mode); }

static mode_t mode_of(int flags, va_list more) { return flags & O_CREAT ? va_arg(more, mode_t) : 0; }

#define OPEN(name)                                                          \
    int name(const char *path, int flags, ...) {                            \
        va_list more;                                                       \
        va_start(more, flags);                                              \
        mode_t mode = mode_of(flags, more);                                 \
        va_end(more);                                                       \
        if (refused((flags & O_CREAT) && below(path))) return -1;           \
        return REAL(name, path, flags, mode);                               \
    }

OPEN(open)
OPEN(open64)

int flock(int fd, int operation) {
    if (number("DISK_NO_FLOCK") && fd_below(fd)) {
        errno = ENOSYS;
        return -1;
    }
    return REAL(flock, fd, operation);
}
