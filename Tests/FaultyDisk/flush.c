// Each sync of data takes a millisecond more, as the flush of an SSD does. Preloaded by
// Deploy/bench where the disk at hand has none to flush.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

int fdatasync(int fd) {
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    const struct timespec flush = {.tv_sec = 0, .tv_nsec = 1000000};
    int result = sync(fd);
    clock_nanosleep(CLOCK_MONOTONIC, 0, &flush, 0);
    return result;
}
