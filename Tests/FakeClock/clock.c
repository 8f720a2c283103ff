// Clocks that a test sets. Preloaded, it adds to CLOCK_REALTIME and to CLOCK_BOOTTIME the
// nanoseconds that stand, as two int64 of this machine's, in the file that TOLLGATE_TEST_CLOCK
// names; and where TOLLGATE_TEST_BOOT names a file, that is what the kernel calls this start of
// the host.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { WALL, BOOT, CLOCKS };

static int (*real)(clockid_t, struct timespec *);
static int64_t *ahead;

static int open_real(const char *path, int flags, mode_t mode) {
    return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open"))(path, flags, mode);
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("TOLLGATE_TEST_CLOCK");
    int file = path ? open_real(path, O_RDONLY | O_CLOEXEC, 0) : -1;
    size_t bytes = CLOCKS * sizeof(int64_t);
    void *mapped = file < 0 ? MAP_FAILED : mmap(0, bytes, PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) abort();
    ahead = mapped;
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = real(clock, time);
    if (result != 0 || (clock != CLOCK_REALTIME && clock != CLOCK_BOOTTIME)) return result;
    __int128 now = (__int128)time->tv_sec * 1000000000 + time->tv_nsec;
    now += __atomic_load_n(ahead + (clock == CLOCK_BOOTTIME ? BOOT : WALL), __ATOMIC_SEQ_CST);
    time->tv_sec = now / 1000000000;
    time->tv_nsec = now % 1000000000;
    return 0;
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    const char *boot = getenv("TOLLGATE_TEST_BOOT");
    if (boot && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0) path = boot;
    return open_real(path, flags, mode);
}
