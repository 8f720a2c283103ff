// The parts of Linux that Swift's Glibc overlay does not import: macros, variadics, structs.
#ifndef TOLLGATE_CLINUX_H
#define TOLLGATE_CLINUX_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct { int32_t pid; uint32_t uid; uint32_t gid; } tg_peer;

/// The credentials of the peer at the time it connected; 0 on success, else -1 and errno.
static inline int tg_peer_credentials(int fd, tg_peer *peer) {
    struct ucred { int32_t pid; uint32_t uid; uint32_t gid; } raw;
    socklen_t size = sizeof raw;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &raw, &size) != 0) return -1;
    peer->pid = raw.pid; peer->uid = raw.uid; peer->gid = raw.gid;
    return 0;
}

/// Nanoseconds of CLOCK_BOOTTIME.
static inline uint64_t tg_boottime(void) {
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/// Milliseconds of CLOCK_REALTIME.
static inline int64_t tg_walltime(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/// No core dump, and no other process of the same user may attach; 0 on success.
static inline int tg_set_not_dumpable(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }

#endif
