/* What the guest of the self-test and its judge agree on: plain numbers, for assembler and C. */
#ifndef KERBSIDE_TENDER_VM_PROBE_H
#define KERBSIDE_TENDER_VM_PROBE_H

#define KERB_PROBE_LOOPS 100000
#define KERB_PROBE_DONE 0x600d
#define KERB_PROBE_SUM 48
#define KERB_PROBE_HOLE 0x123
#define KERB_PROBE_PAGES 0x200000
#define KERB_PROBE_PAGE_COUNT 32

#endif
