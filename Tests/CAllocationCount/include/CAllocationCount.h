// Counts heap allocations of the calling thread, whoever makes them: the test executable's malloc
// stands before the C library's. For tests that hold a path to an allocation budget.
#ifndef TOLLGATE_CALLOCATIONCOUNT_H
#define TOLLGATE_CALLOCATIONCOUNT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Allocations of this thread so far. Always 0 under a sanitizer, which brings a malloc of its own:
/// ask `tg_allocations_are_counted` first.
uint64_t tg_allocations(void);
int tg_allocations_are_counted(void);

#ifdef __cplusplus
}
#endif
#endif
