#define _GNU_SOURCE 1
#include "CLinux.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

int tg_peer_credentials(int fd, tg_peer *peer) {
    struct ucred { int32_t pid; uint32_t uid; uint32_t gid; } raw;
    socklen_t size = sizeof raw;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &raw, &size) != 0) return -1;
    peer->pid = raw.pid; peer->uid = raw.uid; peer->gid = raw.gid;
    return 0;
}

int tg_peer_in_group(int fd, uint32_t group) {
    gid_t groups[256];
    socklen_t size = sizeof groups;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) != 0) return 0;
    for (size_t i = 0; i < size / sizeof groups[0]; i++)
        if (groups[i] == group) return 1;
    return 0;
}

uint64_t tg_boottime(void) {
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t tg_monotonic(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int64_t tg_walltime(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int tg_set_not_dumpable(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }

static int give_back(struct dl_phdr_info *program, size_t size, void *unused) {
    (void)size; (void)unused;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < program->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &program->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X) || (part->p_flags & PF_W)) continue;
        uintptr_t begin = program->dlpi_addr + part->p_vaddr, end = begin + part->p_memsz;
        begin = (begin + page - 1) & ~(page - 1);
        end &= ~(page - 1);
        if (begin < end) madvise((void *)begin, end - begin, MADV_DONTNEED);
    }
    return 1;
}

void tg_give_back_code(void) { dl_iterate_phdr(give_back, 0); }

int tg_accept(int fd) {
    int made = accept4(fd, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return made >= 0 ? made : -errno;
}

int tg_unix_socket(void) {
    int made = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return made >= 0 ? made : -errno;
}

int tg_unix_attach(int fd, const char *path, size_t bytes, int connecting) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (bytes == 0 || bytes >= sizeof address.sun_path) return -ENAMETOOLONG;
    for (size_t i = 0; i < bytes; i++) address.sun_path[i] = path[i];
    const socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes + 1);
    int result = connecting ? connect(fd, (const struct sockaddr *)&address, size)
                            : bind(fd, (const struct sockaddr *)&address, size);
    return result == 0 ? 0 : -errno;
}

int tg_is_unix_listener(int fd) {
    int domain = 0, type = 0, listening = 0;
    socklen_t size = sizeof domain;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0) return 0;
    size = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0) return 0;
    size = sizeof listening;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0) return 0;
    return domain == AF_UNIX && type == SOCK_STREAM && listening;
}

int tg_set_nonblocking(int fd) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return -1;
    return fcntl(fd, F_SETFD, FD_CLOEXEC);
}

int tg_epoll_set(int epoll, int operation, int fd, uint32_t events, uint64_t id) {
    struct epoll_event event = {.events = events, .data = {.u64 = id}};
    return epoll_ctl(epoll, operation, fd, &event) == 0 ? 0 : -errno;
}

int tg_epoll_wait(int epoll, struct epoll_event *events, int max, int milliseconds) {
    int count = epoll_wait(epoll, events, max, milliseconds);
    return count >= 0 ? count : -errno;
}
uint64_t tg_event_id(const struct epoll_event *events, int index) {
    return events[index].data.u64;
}
uint32_t tg_event_mask(const struct epoll_event *events, int index) {
    return events[index].events;
}

long tg_read(int fd, void *bytes, size_t count) {
    long got = recv(fd, bytes, count, 0);
    return got >= 0 ? got : -errno;
}
long tg_send(int fd, const void *bytes, size_t count) {
    long sent = send(fd, bytes, count, MSG_NOSIGNAL);
    return sent >= 0 ? sent : -errno;
}

int tg_signal_descriptor(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    if (pthread_sigmask(SIG_BLOCK, &set, 0) != 0) return -errno;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

static void end_on_bus_error(int number) {
    (void)number;
    static const char line[] =
        "tollgated: a page of a mapped file could not be had (SIGBUS): the disk of the ledger"
        " fails; ending, to begin anew from what is on it\n";
    // Only what signal-safety(7) allows.
    long written = write(2, line, sizeof line - 1);
    _exit(written >= 0 ? 74 : 74);
}

int tg_end_on_bus_error(void) {
    struct sigaction action = {.sa_handler = end_on_bus_error};
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, 0) == 0 ? 0 : -errno;
}

int tg_next_signal(int fd) {
    struct signalfd_siginfo info;
    return read(fd, &info, sizeof info) == sizeof info ? (int)info.ssi_signo : 0;
}

int tg_stderr_is_journal(const char *stream) {
    struct stat status;
    unsigned long long device = 0, inode = 0;
    if (!stream || sscanf(stream, "%llu:%llu", &device, &inode) != 2) return 0;
    return fstat(2, &status) == 0 && status.st_dev == device && status.st_ino == inode;
}

long tg_write_ready(int fd, const void *bytes, size_t count) {
    struct pollfd polled = {.fd = fd, .events = POLLOUT};
    if (poll(&polled, 1, 0) != 1 || !(polled.revents & POLLOUT)) return -EAGAIN;
    long written = write(fd, bytes, count);
    return written >= 0 ? written : -errno;
}

int tg_no_core(void) {
    struct rlimit none = {0, 0};
    return setrlimit(RLIMIT_CORE, &none);
}

uint64_t tg_raise_descriptors(uint64_t wanted) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        setrlimit(RLIMIT_NOFILE, &limit);
        getrlimit(RLIMIT_NOFILE, &limit);
    }
    return limit.rlim_cur;
}


// CLOSE_RANGE_UNSHARE, and not unshare(CLONE_FILES): container profiles let close_range pass.
int tg_own_descriptors(const int *kept, int count) {
    const unsigned last = ~0u, unshare_flag = 1u << 1;
    if (count <= 0) return -EINVAL;
    unsigned next = (unsigned)kept[count - 1] + 1;
    if (syscall(SYS_close_range, next, last, unshare_flag) != 0) return -errno;
    next = 3;
    for (int i = 0; i < count; i++) {
        unsigned keep = (unsigned)kept[i];
        if (keep > next && syscall(SYS_close_range, next, keep - 1, 0) != 0) return -errno;
        if (keep >= next) next = keep + 1;
    }
    return 0;
}

const char *tg_next_name(void *stream, int *failure) {
    errno = 0;
    const struct dirent *entry = readdir((DIR *)stream);
    *failure = entry ? 0 : errno;
    return entry ? entry->d_name : 0;
}

int tg_allocate(int fd, int64_t bytes) {
    return fallocate(fd, 0, 0, bytes) == 0 ? 0 : -errno;
}
