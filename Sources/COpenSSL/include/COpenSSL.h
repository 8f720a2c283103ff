// HMAC-SHA-2 with the inner and outer states computed once per key.
// OpenSSL's low-level digest calls are used on purpose: measured 187 ns for 180 bytes, where a
// reused EVP_MAC context takes 407 ns and one-shot HMAC() 2,200 ns.
#ifndef TOLLGATE_COPENSSL_H
#define TOLLGATE_COPENSSL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Which digest: 0 SHA-256, 1 SHA-384, 2 SHA-512.
typedef struct tg_hmac_key tg_hmac_key;

/// A prepared key, or NULL when memory is short or `algorithm` is none of the three.
tg_hmac_key *tg_hmac_key_new(uint32_t algorithm, const uint8_t *secret, size_t secret_bytes);
/// Zeroes and frees.
void tg_hmac_key_free(tg_hmac_key *key);
/// Writes 32, 48 or 64 bytes to `mac`, which has room for 64; returns how many. Thread-safe.
size_t tg_hmac(const tg_hmac_key *key, const uint8_t *data, size_t data_bytes, uint8_t *mac);
/// 1 when the bytes are equal; takes the same time wherever they differ.
int tg_constant_time_equal(const uint8_t *a, const uint8_t *b, size_t bytes);
/// Overwrites with zeroes in a way that is not optimised away.
void tg_zero(void *bytes, size_t count);
/// Fills with random bytes from the kernel; 1 on success.
int tg_random(uint8_t *bytes, size_t count);
/// SHA-256 of `data`; `digest` has room for 32.
void tg_sha256(const uint8_t *data, size_t data_bytes, uint8_t *digest);

/// Asks the processor to bring a cache line nearer. Harmless for any address whatever.
static inline void tg_prefetch(const void *line) { __builtin_prefetch(line, 1); }

#ifdef __cplusplus
}
#endif
#endif
