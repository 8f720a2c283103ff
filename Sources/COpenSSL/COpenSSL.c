#define OPENSSL_SUPPRESS_DEPRECATED 1
#include "COpenSSL.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

struct tg_hmac_key {
    uint32_t algorithm;
    union {
        struct { SHA256_CTX inner, outer; } s256;
        struct { SHA512_CTX inner, outer; } s512;
    } state;
};

tg_hmac_key *tg_hmac_key_new(uint32_t algorithm, const uint8_t *secret, size_t secret_bytes) {
    if (algorithm > 2) return NULL;
    const size_t block = algorithm == 0 ? 64 : 128;
    uint8_t pad[128] = {0};
    if (secret_bytes > block) {
        if (algorithm == 0) SHA256(secret, secret_bytes, pad);
        else if (algorithm == 1) SHA384(secret, secret_bytes, pad);
        else SHA512(secret, secret_bytes, pad);
    } else if (secret_bytes > 0) {
        memcpy(pad, secret, secret_bytes);
    }
    tg_hmac_key *key = calloc(1, sizeof *key);
    if (key != NULL) {
        key->algorithm = algorithm;
        for (int pass = 0; pass < 2; pass++) {
            uint8_t block_bytes[128];
            for (size_t i = 0; i < block; i++) block_bytes[i] = pad[i] ^ (pass == 0 ? 0x36 : 0x5c);
            if (algorithm == 0) {
                SHA256_CTX *c = pass == 0 ? &key->state.s256.inner : &key->state.s256.outer;
                SHA256_Init(c);
                SHA256_Update(c, block_bytes, block);
            } else {
                SHA512_CTX *c = pass == 0 ? &key->state.s512.inner : &key->state.s512.outer;
                if (algorithm == 1) SHA384_Init(c); else SHA512_Init(c);
                SHA512_Update(c, block_bytes, block);
            }
            OPENSSL_cleanse(block_bytes, sizeof block_bytes);
        }
    }
    OPENSSL_cleanse(pad, sizeof pad);
    return key;
}

void tg_hmac_key_free(tg_hmac_key *key) {
    if (key == NULL) return;
    OPENSSL_cleanse(key, sizeof *key);
    free(key);
}

size_t tg_hmac(const tg_hmac_key *key, const uint8_t *data, size_t data_bytes, uint8_t *mac) {
    uint8_t inner[64];
    if (key->algorithm == 0) {
        SHA256_CTX c = key->state.s256.inner;
        SHA256_Update(&c, data, data_bytes);
        SHA256_Final(inner, &c);
        c = key->state.s256.outer;
        SHA256_Update(&c, inner, 32);
        SHA256_Final(mac, &c);
        return 32;
    }
    const size_t bytes = key->algorithm == 1 ? 48 : 64;
    SHA512_CTX c = key->state.s512.inner;
    SHA512_Update(&c, data, data_bytes);
    SHA512_Final(inner, &c);
    c = key->state.s512.outer;
    SHA512_Update(&c, inner, bytes);
    SHA512_Final(mac, &c);
    return bytes;
}

int tg_constant_time_equal(const uint8_t *a, const uint8_t *b, size_t bytes) {
    return CRYPTO_memcmp(a, b, bytes) == 0;
}

void tg_zero(void *bytes, size_t count) { OPENSSL_cleanse(bytes, count); }

int tg_random(uint8_t *bytes, size_t count) {
    return count <= 1 << 20 && RAND_bytes(bytes, (int)count) == 1;
}

void tg_sha256(const uint8_t *data, size_t data_bytes, uint8_t *digest) {
    SHA256(data, data_bytes, digest);
}
