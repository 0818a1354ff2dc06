/* A disk that fails when it is told to, for one directory of one process.
 *
 * Preloaded (LD_PRELOAD). THYME_FAULT_DIR is the directory, THYME_FAULT_ORDER a file with the orders in force, one a line:
 *
 *     full SUB      there is no space left: what grows a file gets part of its bytes and then ENOSPC
 *     sync SUB      fsync and fdatasync fail with EIO
 *     slow SUB MS   fsync and fdatasync take so many milliseconds longer
 *
 * SUB is a path below the directory, or "." for all of it. No file: no orders. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* The number after an order that is in force for the file behind fd, 0 if it has none; -1 if it is not in force. */
static long ordered(const char *wanted, int fd) {
    const char *dir = getenv("THYME_FAULT_DIR"), *order = getenv("THYME_FAULT_ORDER");
    if (dir == NULL || order == NULL) return -1;
    int file = (int)syscall(SYS_openat, AT_FDCWD, order, O_RDONLY | O_CLOEXEC);
    if (file < 0) return -1;
    char text[1024];
    long length = syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    if (length <= 0) return -1;
    text[length] = 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t end = readlink(link, path, sizeof path - 1);
    if (end < 0) return -1;
    path[end] = 0;
    size_t prefix = strlen(dir);
    if (strncmp(path, dir, prefix) != 0 || path[prefix] != '/') return -1;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char kind[16], below[256];
        long number = 0;
        if (sscanf(line, "%15s %255s %ld", kind, below, &number) < 2 || strcmp(kind, wanted) != 0) continue;
        size_t size = strlen(below);
        if (strcmp(below, ".") == 0 || (strncmp(path + prefix + 1, below, size) == 0 && path[prefix + 1 + size] == '/'))
            return number;
    }
    return -1;
}

static int no_space(void) {
    errno = ENOSPC;
    return -1;
}

/* How much of a write there is still space for; 0 for none. */
static size_t room(int fd, size_t size) {
    if (ordered("full", fd) < 0) return size;
    return size >= 512 ? size / 2 : 0;
}

ssize_t write(int fd, const void *bytes, size_t size) {
    size_t fits = room(fd, size);
    return size > 0 && fits == 0 ? no_space() : syscall(SYS_write, fd, bytes, fits);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (ordered("full", fd) >= 0) return no_space();
    return syscall(SYS_writev, fd, parts, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset) {
    size_t fits = room(fd, size);
    return size > 0 && fits == 0 ? no_space() : syscall(SYS_pwrite64, fd, bytes, fits, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset) { return pwrite64(fd, bytes, size, offset); }

int ftruncate64(int fd, off64_t length) {
    struct stat now;
    if (fstat(fd, &now) == 0 && length > now.st_size && ordered("full", fd) >= 0) return no_space();
    return (int)syscall(SYS_ftruncate, fd, length);
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    if (ordered("full", fd) >= 0) return no_space();
    return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}

int fallocate(int fd, int mode, off_t offset, off_t length) { return fallocate64(fd, mode, offset, length); }

int posix_fallocate64(int fd, off64_t offset, off64_t length) {
    return fallocate64(fd, 0, offset, length) == 0 ? 0 : errno;
}

int posix_fallocate(int fd, off_t offset, off_t length) { return posix_fallocate64(fd, offset, length); }

static int sync_by(long number, int fd) {
    long ms = ordered("slow", fd);
    if (ms > 0) nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
    if (ordered("sync", fd) >= 0) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(number, fd);
}

int fsync(int fd) { return sync_by(SYS_fsync, fd); }

int fdatasync(int fd) { return sync_by(SYS_fdatasync, fd); }
