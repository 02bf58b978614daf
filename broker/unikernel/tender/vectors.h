/*
 * The vector state of a processor: which of its components the gate (gate.h) puts into their initial state before a guest
 * runs, and how large an area the processor may read to do so.
 */
#ifndef KERBSIDE_TENDER_VECTORS_H
#define KERBSIDE_TENDER_VECTORS_H

#include <stdint.h>

struct vectors {
  uint64_t mask; /* components, as XCR0 numbers them; 0: the processor has no XSAVE */
  uint64_t size; /* bytes; 0: the gate needs none (arm64) */
};

/* Of the processor that this runs on. */
struct vectors vectors_look(void);

/* Makes the start of an area that is zero say: every component is in its initial state. */
void vectors_fill(uint8_t *area);

#if defined(__x86_64__)
struct vectors_answer {
  uint32_t eax, ebx, ecx, edx;
};

/* Answers CPUID: of this processor, or of one in a test. */
typedef struct vectors_answer vectors_ask(uint32_t leaf, uint32_t index);

struct vectors vectors_of(vectors_ask *ask, uint64_t xcr0);
/* Bytes of an area in standard form that holds these components. */
uint64_t vectors_size(vectors_ask *ask, uint64_t mask);
/* The processor that this runs on; XCR0 is 0 when it may not be asked. */
struct vectors_answer vectors_cpuid(uint32_t leaf, uint32_t index);
uint64_t vectors_xcr0(void);
#endif

#endif
