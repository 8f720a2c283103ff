// CRC-32C (Castagnoli; RFC 3720, appendix B.4): finds every change of up to 32 neighbouring bits.
#ifndef TOLLGATE_CCHECKSUM_H
#define TOLLGATE_CCHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/// Goes on from `seed`, which is 0 or what the bytes before came to: of two pieces in a row it is
/// the sum of the whole. By the processor's instruction where it has one, found out as it runs.
uint32_t tg_crc32c(uint32_t seed, const void *bytes, size_t count);

/// Of bytes 4 to 31 at `slot`, going on from `seed`: as `tg_crc32c` has it, in fewer steps.
uint32_t tg_crc32c_slot(uint32_t seed, const void *slot);

/// Writes `slots` slots of 32 bytes from `slot` on, which go on with 22 bytes each of `from`: the
/// checksum, going on from `seed` and from slot to slot; the number, `sequence` and upwards;
/// `kind`; the 22 bytes. Returns the last one's checksum. Numbers are little-endian, as the
/// processor's are.
uint32_t tg_crc32c_slots(
    uint32_t seed, void *slot, const void *from, size_t slots, uint32_t sequence, uint16_t kind);

/// `tg_crc32c` without that instruction.
uint32_t tg_crc32c_by_table(uint32_t seed, const void *bytes, size_t count);

/// 1 where the processor has an instruction for it.
int tg_crc32c_is_by_instruction(void);

#endif
