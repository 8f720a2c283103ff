// The parts of Linux that Swift's Glibc overlay does not import: macros, variadics, structs.
#ifndef TOLLGATE_CLINUX_H
#define TOLLGATE_CLINUX_H

#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

typedef struct { int32_t pid; uint32_t uid; uint32_t gid; } tg_peer;

/// The credentials of the peer at the time it connected; 0 on success, else -1 and errno.
int tg_peer_credentials(int fd, tg_peer *peer);

/// 1 when the group is among the peer's supplementary groups, which are 256 at most.
int tg_peer_in_group(int fd, uint32_t group);

/// Nanoseconds of CLOCK_BOOTTIME.
uint64_t tg_boottime(void);

/// Nanoseconds of CLOCK_MONOTONIC, which the service manager's protocol wants.
uint64_t tg_monotonic(void);

/// Milliseconds of CLOCK_REALTIME.
int64_t tg_walltime(void);

/// No core dump, and no other process of the same user may attach; 0 on success.
int tg_set_not_dumpable(void);

/// Unmaps the program's own code, which comes back from its file page by page as it is run again:
/// what only a start ran stays out of the resident set. Nothing is written to such pages, and they
/// are the first program of dl_iterate_phdr(3).
void tg_give_back_code(void);

/// accept4 with SOCK_NONBLOCK | SOCK_CLOEXEC; the descriptor, or -errno.
int tg_accept(int fd);

/// A non-blocking, close-on-exec stream socket of the Unix domain; or -errno.
int tg_unix_socket(void);

/// Binds (`connecting` 0) or connects to a path of at most 107 bytes; 0 or -errno.
int tg_unix_attach(int fd, const char *path, size_t bytes, int connecting);

/// 1 when the descriptor is a listening stream socket of the Unix domain.
int tg_is_unix_listener(int fd);

/// Non-blocking and close-on-exec; 0, or -1 and errno.
int tg_set_nonblocking(int fd);

/// Adds (1), removes (2) or changes (3) a descriptor in an epoll set; 0 or -errno.
int tg_epoll_set(int epoll, int operation, int fd, uint32_t events, uint64_t id);

/// Waits; the number of events, or -errno.
int tg_epoll_wait(int epoll, struct epoll_event *events, int max, int milliseconds);
uint64_t tg_event_id(const struct epoll_event *events, int index);
uint32_t tg_event_mask(const struct epoll_event *events, int index);

/// recv from, and send without SIGPIPE to, a connected socket: bytes, or -errno. recv takes a
/// shorter way through the kernel than read; descriptors that a peer sends along are dropped.
long tg_read(int fd, void *bytes, size_t count);
long tg_send(int fd, const void *bytes, size_t count);

/// A descriptor from which the process' TERM, INT and HUP are read; or -errno. PIPE, XFSZ, USR1
/// and USR2 are ignored from then on.
int tg_signal_descriptor(void);

/// From now on SIGBUS, which a disk raises that cannot give or take a page of a mapped file, ends
/// the process with a line on standard error and exit code 74; 0 or -errno.
int tg_end_on_bus_error(void);

/// The next signal that waits at such a descriptor, or 0.
int tg_next_signal(int fd);

/// 1 when JOURNAL_STREAM's text names the file that standard error is (systemd.exec(5)).
int tg_stderr_is_journal(const char *stream);

/// write, if it need not wait: bytes, or -errno (-EAGAIN when it would).
long tg_write_ready(int fd, const void *bytes, size_t count);

/// No core dump of this process or of what it starts; 0 or -1.
int tg_no_core(void);

/// Raises the number of open descriptors to `wanted` if the hard limit allows; what it is now.
uint64_t tg_raise_descriptors(uint64_t wanted);

/// Gives the calling thread a table of descriptors of its own that holds 0 to 2 and those in
/// `kept`, which is in ascending order; 0, or -errno, and the table is shared as before.
///
/// System calls on a table that no other thread shares need not count references to its files:
/// measured as 3 to 8 % of a small request.
int tg_own_descriptors(const int *kept, int count);

/// The next name of an open directory stream (DIR *), valid until the next call; null at its end,
/// and when reading failed: then `failure` is the errno, else 0.
const char *tg_next_name(void *stream, int *failure);

/// fallocate of the first `bytes` of a file; 0 or -errno.
int tg_allocate(int fd, int64_t bytes);

#endif
