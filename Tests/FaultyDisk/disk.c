// System calls on a ledger's files that fail when a test says so. Preloaded, it reads what is to
// fail out of the file that TOLLGATE_TEST_FAULTS names: a `struct fault` for each kind of call.
// Calls count that are about paths that begin with TOLLGATE_TEST_LEDGER.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum kind { OPEN, WRITE, SYNC, RENAME, UNLINK, MAP, ALLOCATE, READ, KINDS };

// `after` calls still succeed, then `times` fail with `error`; both count down. Below 0 it is a
// signal that comes before the call is made; 0: what is read or written is half of what was asked.
// EINTR comes before each other call alone: who makes the call again has it done.
struct fault {
    int32_t error;
    int32_t after;
    int32_t times;
    int32_t failed;
};

enum { FILES_MAX = 4096 };

static struct fault *faults;
static const char *ledger;
static char is_of_ledger[FILES_MAX];

static int open_real(const char *path) {
    return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open"))(path, O_RDWR | O_CLOEXEC);
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("TOLLGATE_TEST_FAULTS");
    int file = path ? open_real(path) : -1;
    ledger = getenv("TOLLGATE_TEST_LEDGER");
    void *mapped = MAP_FAILED;
    void *(*map)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, "mmap");
    if (file >= 0) {
        mapped = map(0, KINDS * sizeof(struct fault), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    }
    if (mapped == MAP_FAILED || !ledger) abort();
    faults = mapped;
}

// Threads take turns; between two of them what a test has changed is seen whole.
static int fails(enum kind kind) {
    struct fault *fault = faults + kind;
    if (__atomic_load_n(&fault->times, __ATOMIC_SEQ_CST) <= 0) return 0;
    if (__atomic_fetch_sub(&fault->after, 1, __ATOMIC_SEQ_CST) > 0) return 0;
    static int interrupted[KINDS];
    if (fault->error == EINTR && __atomic_fetch_xor(interrupted + kind, 1, __ATOMIC_SEQ_CST)) {
        return 0;
    }
    if (__atomic_fetch_sub(&fault->times, 1, __ATOMIC_SEQ_CST) <= 0) return 0;
    __atomic_fetch_add(&fault->failed, 1, __ATOMIC_SEQ_CST);
    if (fault->error < 0) kill(getpid(), -fault->error);
    errno = fault->error;
    return 1;
}

// Others are loaded before this one has begun.
static int is_path(const char *path) {
    return path && ledger && strncmp(path, ledger, strlen(ledger)) == 0;
}
static int is_file(int fd) { return fd >= 0 && fd < FILES_MAX && is_of_ledger[fd]; }

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    if (is_path(path) && fails(OPEN)) return -1;
    int fd = ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open"))(path, flags, mode);
    if (fd >= 0 && fd < FILES_MAX) is_of_ledger[fd] = (char)is_path(path);
    return fd;
}

DIR *opendir(const char *path) {
    if (is_path(path) && fails(OPEN)) return 0;
    return ((DIR * (*)(const char *)) dlsym(RTLD_NEXT, "opendir"))(path);
}

int close(int fd) {
    if (is_file(fd)) is_of_ledger[fd] = 0;
    return ((int (*)(int))dlsym(RTLD_NEXT, "close"))(fd);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    if (is_file(fd) && fails(WRITE)) {
        if (errno) return -1;
        count = (count + 1) / 2;
    }
    return ((ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite"))(
        fd, bytes, count, at);
}

ssize_t pread(int fd, void *bytes, size_t count, off_t at) {
    if (is_file(fd) && fails(READ)) {
        if (errno) return -1;
        count = (count + 1) / 2;
    }
    return ((ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread"))(
        fd, bytes, count, at);
}

int fdatasync(int fd) {
    if (is_file(fd) && fails(SYNC)) return -1;
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}

int fsync(int fd) {
    if (is_file(fd) && fails(SYNC)) return -1;
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}

int rename(const char *from, const char *to) {
    if (is_path(from) && fails(RENAME)) return -1;
    return ((int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename"))(from, to);
}

int unlink(const char *path) {
    if (is_path(path) && fails(UNLINK)) return -1;
    return ((int (*)(const char *))dlsym(RTLD_NEXT, "unlink"))(path);
}

void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
    if (is_file(fd) && fails(MAP)) return MAP_FAILED;
    return ((void *(*)(void *, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, "mmap"))(
        at, bytes, protection, flags, fd, offset);
}

int fallocate(int fd, int mode, off_t offset, off_t bytes) {
    if (is_file(fd) && fails(ALLOCATE)) return -1;
    return ((int (*)(int, int, off_t, off_t))dlsym(RTLD_NEXT, "fallocate"))(
        fd, mode, offset, bytes);
}
