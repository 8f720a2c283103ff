#include "CChecksum.h"

#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#define TARGET __attribute__((target("sse4.2")))
#define ADD8(sum, value) _mm_crc32_u64(sum, value)
#define ADD4(sum, value) _mm_crc32_u32((uint32_t)(sum), value)
#define ADD1(sum, value) _mm_crc32_u8((uint32_t)(sum), value)
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <stdatomic.h>
#include <sys/auxv.h>
#define TARGET __attribute__((target("crc")))
#define ADD8(sum, value) __crc32cd((uint32_t)(sum), value)
#define ADD4(sum, value) __crc32cw((uint32_t)(sum), value)
#define ADD1(sum, value) __crc32cb((uint32_t)(sum), value)
#endif

// What a byte contributes when 0 to 7 bytes follow it in its step. Written before main begins,
// then only read.
static uint32_t table[8][256];

__attribute__((constructor)) static void fill_table(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t sum = byte;
        for (int bit = 0; bit < 8; bit++) sum = sum & 1 ? sum >> 1 ^ 0x82f63b78 : sum >> 1;
        table[0][byte] = sum;
    }
    for (int place = 1; place < 8; place++) {
        for (int byte = 0; byte < 256; byte++) {
            const uint32_t before = table[place - 1][byte];
            table[place][byte] = before >> 8 ^ table[0][before & 0xff];
        }
    }
}

uint32_t tg_crc32c_by_table(uint32_t seed, const void *bytes, size_t count) {
    const uint8_t *at = bytes;
    uint32_t sum = ~seed;
    for (; count >= 8; at += 8, count -= 8) {
        const uint32_t low = sum ^ (at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24);
        sum = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff]
            ^ table[4][low >> 24] ^ table[3][at[4]] ^ table[2][at[5]] ^ table[1][at[6]]
            ^ table[0][at[7]];
    }
    for (; count > 0; at++, count--) sum = sum >> 8 ^ table[0][(sum ^ *at) & 0xff];
    return ~sum;
}

#if defined(TARGET)
TARGET static uint32_t by_instruction(uint32_t seed, const uint8_t *at, size_t count) {
    uint64_t sum = (uint32_t)~seed;
    for (; count >= 8; at += 8, count -= 8) {
        uint64_t value;
        memcpy(&value, at, 8);
        sum = ADD8(sum, value);
    }
    if (count >= 4) {
        uint32_t value;
        memcpy(&value, at, 4);
        sum = ADD4(sum, value);
        at += 4;
        count -= 4;
    }
    for (; count > 0; at++, count--) sum = ADD1(sum, *at);
    return ~(uint32_t)sum;
}

TARGET static uint32_t slot_by_instruction(uint32_t seed, const uint8_t *slot) {
    uint32_t first;
    uint64_t words[3];
    memcpy(&first, slot + 4, sizeof first);
    memcpy(words, slot + 8, sizeof words);
    uint64_t sum = ADD4((uint32_t)~seed, first);
    sum = ADD8(sum, words[0]);
    sum = ADD8(sum, words[1]);
    sum = ADD8(sum, words[2]);
    return ~(uint32_t)sum;
}
#endif

int tg_crc32c_is_by_instruction(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("sse4.2") ? 1 : 0;
#elif defined(__aarch64__)
    static atomic_int known;  // 0 not asked yet, 1 no, 2 yes; who asks twice learns the same
    int answer = atomic_load_explicit(&known, memory_order_relaxed);
    if (answer == 0) {
        answer = getauxval(AT_HWCAP) & HWCAP_CRC32 ? 2 : 1;
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer - 1;
#else
    return 0;
#endif
}

uint32_t tg_crc32c(uint32_t seed, const void *bytes, size_t count) {
#if defined(TARGET)
    if (tg_crc32c_is_by_instruction()) return by_instruction(seed, bytes, count);
#endif
    return tg_crc32c_by_table(seed, bytes, count);
}

uint32_t tg_crc32c_slot(uint32_t seed, const void *slot) {
#if defined(TARGET)
    if (tg_crc32c_is_by_instruction()) return slot_by_instruction(seed, slot);
#endif
    return tg_crc32c_by_table(seed, (const uint8_t *)slot + 4, 28);
}
