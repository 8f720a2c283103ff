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

// What a slot that goes on has behind its checksum, as it stands there.
struct words {
    uint64_t head, middle, rest;
    uint32_t end;
};

static inline struct words words_of(uint32_t sequence, uint16_t kind, const uint8_t *from) {
    struct words made;
    uint16_t first;
    memcpy(&first, from, sizeof first);
    memcpy(&made.middle, from + 2, sizeof made.middle);
    memcpy(&made.rest, from + 10, sizeof made.rest);
    memcpy(&made.end, from + 18, sizeof made.end);
    made.head = sequence | (uint64_t)kind << 32 | (uint64_t)first << 48;
    return made;
}

static inline void put_words(uint8_t *slot, const struct words *words) {
    memcpy(slot + 4, &words->head, sizeof words->head);
    memcpy(slot + 12, &words->middle, sizeof words->middle);
    memcpy(slot + 20, &words->rest, sizeof words->rest);
    memcpy(slot + 28, &words->end, sizeof words->end);
}

#if defined(TARGET)
// From the words at hand: to read again what was just written in other pieces takes three times as
// long as the sum.
TARGET static uint32_t slots_by_instruction(
    uint32_t seed, uint8_t *slot, const uint8_t *from, size_t slots, uint32_t sequence,
    uint16_t kind
) {
    for (size_t index = 0; index < slots; index++) {
        const struct words words = words_of(sequence + (uint32_t)index, kind, from);
        put_words(slot, &words);
        uint64_t sum = (uint32_t)~seed;
        sum = ADD8(sum, words.head);
        sum = ADD8(sum, words.middle);
        sum = ADD8(sum, words.rest);
        seed = ~ADD4((uint32_t)sum, words.end);
        memcpy(slot, &seed, sizeof seed);
        slot += 32;
        from += 22;
    }
    return seed;
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

uint32_t tg_crc32c_slots(
    uint32_t seed, void *slot, const void *from, size_t slots, uint32_t sequence, uint16_t kind
) {
#if defined(TARGET)
    if (tg_crc32c_is_by_instruction()) {
        return slots_by_instruction(seed, slot, from, slots, sequence, kind);
    }
#endif
    uint8_t *at = slot;
    for (size_t index = 0; index < slots; index++, at += 32) {
        const struct words words =
            words_of(sequence + (uint32_t)index, kind, (const uint8_t *)from + 22 * index);
        put_words(at, &words);
        seed = tg_crc32c_by_table(seed, at + 4, 28);
        memcpy(at, &seed, sizeof seed);
    }
    return seed;
}
