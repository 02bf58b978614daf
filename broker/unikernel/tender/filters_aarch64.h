/* What the filters of filters.c let through on arm64 beyond that: nothing. */
#ifndef KERBSIDE_TENDER_FILTERS_AARCH64_H
#define KERBSIDE_TENDER_FILTERS_AARCH64_H

#define MACHINE_AUDIT AUDIT_ARCH_AARCH64
#define MACHINE_PROCESS
#define MACHINE_VM

#endif
