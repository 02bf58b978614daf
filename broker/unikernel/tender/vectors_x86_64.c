/*
 * Sections and tables are those of the Intel SDM, volume 1, chapter 13; AMD's manual (volume 2, 11.5) says the same.
 *
 * XRSTOR reads the area of every component that it is asked for, also of one that the area's header calls initial; some
 * processors read less, none promises to. So it is asked for what the system has (XCR0), and the area is as large as CPUID
 * says that these components need, in the standard form, which every processor with XSAVE knows.
 *
 * Left out are components that the system gives on demand (CPUID leaf 0DH, ECX bit 2: extended feature disable, XFD): today
 * AMX's tiles, 8 KiB of the 11,008 bytes. A process has them only after it has asked the kernel with a system call that the
 * filters do not let through, and exec takes the leave back; until then its first use of one is a fault. There is nothing
 * to reset, and a component that the future brings in this way is closed in the same way.
 */
#include "vectors.h"

#include <cpuid.h>
#include <string.h>

#define OSXSAVE (1u << 27)     /* leaf 1, ECX: the system uses XSAVE, and XGETBV may be asked */
#define STATE_LEAF 0xd         /* its index is the number of a component: EAX size, EBX offset in the standard form */
#define STATE_SUPERVISOR 1u    /* ECX: not a component of XCR0 */
#define STATE_ON_DEMAND 4u     /* ECX: XFD */
#define LEGACY_AND_HEADER 576u /* 13.4: x87 and SSE, and the header */
#define LEGACY 512u            /* what FXRSTOR reads */
#define COMPONENTS 63
#define FPU_CONTROL_DEFAULT 0x037f
#define MXCSR_DEFAULT 0x1f80
#define MXCSR_OFFSET 24

uint64_t vectors_size(vectors_ask *ask, uint64_t mask) {
  uint64_t size = LEGACY_AND_HEADER;
  for (unsigned i = 2; i < COMPONENTS; i++) {
    if ((mask >> i & 1) == 0) continue;
    const struct vectors_answer state = ask(STATE_LEAF, i);
    /* One that says nothing of itself: then all of XCR0 says how much that is. */
    const uint64_t end = state.eax == 0 ? ask(STATE_LEAF, 0).ebx : (uint64_t)state.ebx + state.eax;
    if (end > size) size = end;
  }
  return size;
}

struct vectors vectors_of(vectors_ask *ask, uint64_t xcr0) {
  uint64_t mask = xcr0;
  if ((ask(1, 0).ecx & OSXSAVE) == 0 || xcr0 == 0) return (struct vectors){0, LEGACY};
  for (unsigned i = 2; i < COMPONENTS; i++)
    if ((mask >> i & 1) != 0 && (ask(STATE_LEAF, i).ecx & (STATE_ON_DEMAND | STATE_SUPERVISOR)) != 0) mask &= ~(1ull << i);
  return (struct vectors){mask, vectors_size(ask, mask)};
}

struct vectors_answer vectors_cpuid(uint32_t leaf, uint32_t index) {
  struct vectors_answer answer = {0};
  if (!__get_cpuid_count(leaf, index, &answer.eax, &answer.ebx, &answer.ecx, &answer.edx))
    return (struct vectors_answer){0};
  return answer;
}

uint64_t vectors_xcr0(void) {
  if ((vectors_cpuid(1, 0).ecx & OSXSAVE) == 0) return 0;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

struct vectors vectors_look(void) {
  struct vectors here = vectors_of(vectors_cpuid, vectors_xcr0());
#ifdef KERB_TEST_VECTORS /* a test build that takes the area for so large: see Makefile */
  here.size = KERB_TEST_VECTORS;
#endif
  return here;
}

void vectors_fill(uint8_t *area) {
  const uint16_t control = FPU_CONTROL_DEFAULT;
  const uint32_t mxcsr = MXCSR_DEFAULT;
  memcpy(area, &control, sizeof control);
  memcpy(area + MXCSR_OFFSET, &mxcsr, sizeof mxcsr);
}
