// A wall clock that a test sets. Preloaded, it adds to CLOCK_REALTIME the nanoseconds that stand,
// as an int64 of this machine's, in the file that TOLLGATE_TEST_CLOCK names.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static int (*real)(clockid_t, struct timespec *);
static int64_t *ahead;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("TOLLGATE_TEST_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) abort();
    ahead = mapped;
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = real(clock, time);
    if (result != 0 || clock != CLOCK_REALTIME) return result;
    __int128 now = (__int128)time->tv_sec * 1000000000 + time->tv_nsec;
    now += __atomic_load_n(ahead, __ATOMIC_SEQ_CST);
    time->tv_sec = now / 1000000000;
    time->tv_nsec = now % 1000000000;
    return 0;
}
