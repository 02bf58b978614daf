/* What a fuzz target offers to whatever drives it. */
#ifndef KERBSIDE_TENDER_FUZZ_H
#define KERBSIDE_TENDER_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The name and shape that libFuzzer asks for. Always 0; what is wrong ends the process. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
/* What became of the last input. */
extern bool fuzz_accepted;

#endif
