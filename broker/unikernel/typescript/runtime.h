/* The host of a WebAssembly module that wasm2c has made C of (see runtime.c). */
#ifndef KERBSIDE_WASM_RUNTIME_H
#define KERBSIDE_WASM_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

/* The call that the module is about to serve: what its imports read and write. */
void kerb_wasm_begin(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size);

#endif
