// The floor of tollgate-bench: what any daemon that checks tokens over this socket has to do, and
// nothing else. One thread, one epoll; the same frames; one HMAC-SHA256 of the token's signed
// bytes; a reply of the same size as the daemon's.   usage: tollgate-floor SOCKET REPLY_BYTES
#define _GNU_SOURCE 1
#include "COpenSSL.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { HEADER = 16, CHECK_FIXED = 32, BUFFER = 256 * 1024, CONNECTIONS = 4096 };

typedef struct { uint8_t *held; size_t held_bytes; } connection;
static connection connections[CONNECTIONS];
static uint8_t input[2 * BUFFER], output[BUFFER * 4];

// Answers the whole frames in `bytes`; returns how many bytes they took.
static size_t answer(const tg_hmac_key *key, const uint8_t *bytes, size_t count, size_t reply,
                     size_t *out) {
    size_t at = 0;
    *out = 0;
    while (count - at >= HEADER) {
        uint32_t length;
        memcpy(&length, bytes + at, 4);
        if (length < 12 || length > 65536) exit(1);
        if (count - at < 4 + (size_t)length || *out + reply > sizeof output) break;
        const uint8_t *body = bytes + at + HEADER;
        uint8_t mac[64];
        memset(mac, 0, 8);
        if (length - 12 >= CHECK_FIXED) {
            uint16_t credential;
            memcpy(&credential, body + 6, 2);
            if (credential > length - 12 - CHECK_FIXED) exit(1);
            const uint8_t *token = body + CHECK_FIXED;
            const uint8_t *dot = memrchr(token, '.', credential);
            tg_hmac(key, token, dot ? (size_t)(dot - token) : credential, mac);
        }
        uint8_t *to = output + *out;
        memset(to, 0, reply);
        uint32_t reply_length = (uint32_t)(reply - 4);
        memcpy(to, &reply_length, 4);
        to[4] = bytes[at + 4] | 0x80;
        memcpy(to + 8, bytes + at + 8, 8);
        to[HEADER] = 1;
        memcpy(to + HEADER + 8, mac, 8);
        *out += reply;
        at += 4 + length;
    }
    return at;
}

static void serve(const tg_hmac_key *key, int fd, size_t reply) {
    connection *c = &connections[fd];
    memcpy(input, c->held, c->held_bytes);
    ssize_t got = read(fd, input + c->held_bytes, BUFFER);
    if (got <= 0) { c->held_bytes = 0; close(fd); return; }
    size_t count = c->held_bytes + (size_t)got, out = 0;
    size_t used = answer(key, input, count, reply, &out);
    c->held_bytes = count - used;
    if (c->held_bytes > BUFFER) exit(1);
    memcpy(c->held, input + used, c->held_bytes);
    for (size_t sent = 0; sent < out;) {
        ssize_t put = send(fd, output + sent, out - sent, MSG_NOSIGNAL);
        if (put <= 0) { close(fd); return; }
        sent += (size_t)put;
    }
}

int main(int argc, char **argv) {
    if (argc != 3) { fprintf(stderr, "usage: tollgate-floor SOCKET REPLY_BYTES\n"); return 64; }
    const size_t reply = strtoul(argv[2], 0, 10);
    if (reply < 24 || reply > 4096) { fprintf(stderr, "reply is 24 to 4096 bytes\n"); return 64; }
    const uint8_t secret[32] = "a secret of 32 bytes for floors";
    tg_hmac_key *key = tg_hmac_key_new(0, secret, sizeof secret);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(argv[1]) >= sizeof address.sun_path) return 64;
    strcpy(address.sun_path, argv[1]);
    unlink(argv[1]);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), epoll = epoll_create1(0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror(argv[1]);
        return 74;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) { serve(key, fd, reply); continue; }
            int made = accept(listener, 0, 0);
            if (made < 0 || made >= CONNECTIONS) continue;
            if (!connections[made].held) connections[made].held = malloc(BUFFER + HEADER);
            connections[made].held_bytes = 0;
            event = (struct epoll_event){.events = EPOLLIN, .data.fd = made};
            epoll_ctl(epoll, EPOLL_CTL_ADD, made, &event);
        }
    }
}
