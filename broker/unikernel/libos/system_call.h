/* A system call of Linux, from a guest in isolation `process`: the number and six arguments, the result or -errno. */
#ifndef KERBSIDE_SYSTEM_CALL_H
#define KERBSIDE_SYSTEM_CALL_H

#include <stdint.h>

#if defined(__x86_64__)
#include "system_call_x86_64.h"
#elif defined(__aarch64__)
#include "system_call_aarch64.h"
#endif

#endif
