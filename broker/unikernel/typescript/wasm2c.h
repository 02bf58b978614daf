/*
 * The runtime header of wasm2c, and what differs between the versions that tasks are built with: wabt 1.0.32 (Debian 12)
 * and 1.0.36 (Debian 13). build.ts refuses others, so a file that only the newer one has tells them apart. It is included
 * before everything else, because it says how the header is to be used: bounds are checked in code, since a guest has no
 * signal handlers, and the stack by its guard page.
 */
#ifndef KERBSIDE_WASM2C_H
#define KERBSIDE_WASM2C_H

#if __has_include(<wasm-rt-exceptions.h>)

#define WASM_RT_USE_MMAP 0
#define WASM_RT_MEMCHECK_BOUNDS_CHECK 1
#define WASM_RT_NONCONFORMING_UNCHECKED_STACK_EXHAUSTION 1
#include <wasm-rt.h>

typedef uint64_t kerb_wasm_pages;
#define KERB_WASM_MEMORY_KIND , bool is64
#define KERB_WASM_MEMORY_IGNORE (void)is64
/* A function type is its hash, which the generated code holds. */
#define KERB_WASM_TYPES_REGISTERED 0

struct w2c_env;
#define KERB_WASM_ENV struct w2c_env
#define KERB_WASM_NAME(old, new) new

#else

#define WASM_RT_MEMCHECK_SIGNAL_HANDLER 0
#define WASM_RT_USE_STACK_DEPTH_COUNT 0
#include <wasm-rt.h>

typedef uint32_t kerb_wasm_pages;
#define KERB_WASM_MEMORY_KIND
#define KERB_WASM_MEMORY_IGNORE
#define KERB_WASM_TYPES_REGISTERED 1

struct Z_env_instance_t;
#define KERB_WASM_ENV struct Z_env_instance_t
#define KERB_WASM_NAME(old, new) old

#endif

#endif
