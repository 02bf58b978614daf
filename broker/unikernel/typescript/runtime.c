/*
 * The host of a WebAssembly module that Debian's wasm2c has made C of: the runtime behind wasm-rt.h, and what
 * AssemblyScript imports. It is compiled with each such task and not part of libos.a, so that everything else builds
 * whatever version of wabt there is, and without any. A module has one linear memory, which lies in the heap of the
 * unikernel and so is bounded by the `memory` of the task's manifest. A trap ends the call with a code of its own.
 *
 * Addresses and sizes come from the module: each is checked against its memory.
 */
#include "wasm2c.h"

#include <stdarg.h>
#include <string.h>

#include "libos.h"
#include "runtime.h"

#define WASM_PAGE 0x10000u
#define MAX_TYPES 256
#define MAX_PARAMETERS 32
/* Left to malloc() below the linear memory: the function tables. */
#define HEAP_KEPT 0x10000u

static struct {
  const uint8_t *in;
  size_t in_size;
  uint8_t *out;
  size_t out_capacity;
  size_t *out_size;
} call;
static wasm_rt_memory_t *memory;

void kerb_wasm_begin(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size) {
  call.in = in;
  call.in_size = in_size;
  call.out = out;
  call.out_capacity = out_capacity;
  call.out_size = out_size;
}

/* --- the runtime ------------------------------------------------------------------------------------------------- */

bool wasm_rt_is_initialized(void) { return true; }

void wasm_rt_trap(wasm_rt_trap_t trap) {
  switch (trap) {
    case WASM_RT_TRAP_OOB:
      kerb_abort(KERB_ABORT_WASM_BOUNDS);
    case WASM_RT_TRAP_INT_OVERFLOW:
      kerb_abort(KERB_ABORT_WASM_OVERFLOW);
    case WASM_RT_TRAP_DIV_BY_ZERO:
      kerb_abort(KERB_ABORT_WASM_DIVISION);
    case WASM_RT_TRAP_INVALID_CONVERSION:
      kerb_abort(KERB_ABORT_WASM_CONVERSION);
    case WASM_RT_TRAP_CALL_INDIRECT:
      kerb_abort(KERB_ABORT_WASM_CALL);
    default:
      kerb_abort(KERB_ABORT_WASM_UNREACHABLE);
  }
}

#if KERB_WASM_TYPES_REGISTERED
/* Numbers from 1; the same signature has the same number. */
uint32_t wasm_rt_register_func_type(uint32_t parameters, uint32_t results, ...) {
  static struct {
    uint32_t parameters, results;
    uint8_t kinds[MAX_PARAMETERS];
  } types[MAX_TYPES];
  static uint32_t count;
  if (count == MAX_TYPES || parameters > MAX_PARAMETERS || results > MAX_PARAMETERS - parameters)
    kerb_abort(KERB_ABORT_WASM_TYPES);
  memset(&types[count], 0, sizeof *types); /* a signature that was there already has left its traces */
  types[count].parameters = parameters;
  types[count].results = results;
  va_list kinds;
  va_start(kinds, results);
  for (uint32_t i = 0; i < parameters + results; i++) types[count].kinds[i] = (uint8_t)va_arg(kinds, int);
  va_end(kinds);
  uint32_t found = 0;
  while (memcmp(&types[found], &types[count], sizeof *types) != 0) found++;
  if (found == count) count++;
  return found + 1;
}
#endif

void wasm_rt_allocate_memory(wasm_rt_memory_t *allocated, kerb_wasm_pages initial_pages,
                             kerb_wasm_pages max_pages KERB_WASM_MEMORY_KIND) {
  KERB_WASM_MEMORY_IGNORE;
  size_t room;
  allocated->data = kerb_heap_rest(HEAP_KEPT, &room);
  const uint32_t pages = (uint32_t)(room / WASM_PAGE);
  if (initial_pages > pages) kerb_abort(KERB_ABORT_WASM_MEMORY);
  allocated->pages = initial_pages;
  allocated->size = initial_pages * WASM_PAGE;
  allocated->max_pages = max_pages < pages ? max_pages : pages;
  memory = allocated;
}

/* The arena is zero where nobody has written, so growing is only a larger number. */
kerb_wasm_pages wasm_rt_grow_memory(wasm_rt_memory_t *grown, kerb_wasm_pages pages) {
  const kerb_wasm_pages before = grown->pages;
  if (pages > grown->max_pages - before) {
    kerb_logf("memory.grow: %u more pages of 64 KiB are not there: %u of %u are in use\n", (unsigned)pages, (unsigned)before,
              (unsigned)grown->max_pages);
    return (kerb_wasm_pages)-1;
  }
  grown->pages += pages;
  grown->size = grown->pages * WASM_PAGE;
  return before;
}

void wasm_rt_free_memory(wasm_rt_memory_t *freed) { (void)freed; } /* it goes with the call */

void wasm_rt_allocate_funcref_table(wasm_rt_funcref_table_t *table, uint32_t elements, uint32_t max_elements) {
  table->data = calloc(elements, sizeof *table->data);
  if (table->data == NULL && elements > 0) kerb_abort(KERB_ABORT_WASM_MEMORY);
  table->size = elements;
  table->max_size = max_elements;
}

void wasm_rt_free_funcref_table(wasm_rt_funcref_table_t *table) { (void)table; }

/* --- what AssemblyScript imports --------------------------------------------------------------------------------- */

#define import_date_now KERB_WASM_NAME(Z_envZ_DateZ2Enow, w2c_env_Date0x2Enow)
#define import_abort KERB_WASM_NAME(Z_envZ_abort, w2c_env_abort)
#define import_console_log KERB_WASM_NAME(Z_envZ_consoleZ2Elog, w2c_env_console0x2Elog)
#define import_kerbside_input_size KERB_WASM_NAME(Z_envZ_kerbsideZ2EinputSize, w2c_env_kerbside0x2EinputSize)
#define import_kerbside_read_input KERB_WASM_NAME(Z_envZ_kerbsideZ2EreadInput, w2c_env_kerbside0x2EreadInput)
#define import_kerbside_refuse KERB_WASM_NAME(Z_envZ_kerbsideZ2Erefuse, w2c_env_kerbside0x2Erefuse)
#define import_kerbside_write_output KERB_WASM_NAME(Z_envZ_kerbsideZ2EwriteOutput, w2c_env_kerbside0x2EwriteOutput)
#define import_seed KERB_WASM_NAME(Z_envZ_seed, w2c_env_seed)

static const uint8_t *range(uint32_t address, uint64_t size) {
  if (address + size > memory->size) kerb_abort(KERB_ABORT_WASM_BOUNDS);
  return memory->data + address;
}

static size_t put_utf8(char *to, uint32_t code) {
  if (code < 0x80) return to[0] = (char)code, 1;
  if (code < 0x800) return to[0] = (char)(0xc0 | code >> 6), to[1] = (char)(0x80 | (code & 63)), 2;
  if (code < 0x10000) {
    to[0] = (char)(0xe0 | code >> 12), to[1] = (char)(0x80 | (code >> 6 & 63)), to[2] = (char)(0x80 | (code & 63));
    return 3;
  }
  to[0] = (char)(0xf0 | code >> 18), to[1] = (char)(0x80 | (code >> 12 & 63));
  to[2] = (char)(0x80 | (code >> 6 & 63)), to[3] = (char)(0x80 | (code & 63));
  return 4;
}

/* Logs a string of AssemblyScript: UTF-16, its size in bytes in the four bytes before it. What the log has no room for
   anyway is not read. */
static void log_string(uint32_t address) {
  if (address == 0) return;
  uint32_t size;
  memcpy(&size, range(address - 4, 4), sizeof size);
  const uint8_t *text = range(address, size);
  char line[512];
  size_t length = 0;
  if (size > 2 * KERB_MAX_LOG) size = 2 * KERB_MAX_LOG;
  for (uint32_t at = 0; at + 1 < size; at += 2) {
    uint32_t code = text[at] | (uint32_t)text[at + 1] << 8;
    if (code >= 0xd800 && code < 0xdc00 && at + 3 < size) {
      const uint32_t low = text[at + 2] | (uint32_t)text[at + 3] << 8;
      if (low >= 0xdc00 && low < 0xe000) {
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        at += 2;
      }
    }
    if (code >= 0xd800 && code < 0xe000) code = 0xfffd;
    length += put_utf8(line + length, code);
    if (length > sizeof line - 4) {
      kerb_log(line, length);
      length = 0;
    }
  }
  kerb_log(line, length);
}

/* throw, assert() and AssemblyScript's own checks. */
void import_abort(KERB_WASM_ENV *env, uint32_t message, uint32_t file, uint32_t line, uint32_t column);
void import_abort(KERB_WASM_ENV *env, uint32_t message, uint32_t file, uint32_t line, uint32_t column) {
  (void)env;
  log_string(message);
  kerb_log(" (", 2);
  log_string(file);
  kerb_logf(":%u:%u)\n", line, column);
  kerb_abort(KERB_ABORT_WASM_THROWN);
}

void import_console_log(KERB_WASM_ENV *env, uint32_t text);
void import_console_log(KERB_WASM_ENV *env, uint32_t text) {
  (void)env;
  log_string(text);
  kerb_log("\n", 1);
}

/* For Math.random(): 53 fresh bits. */
double import_seed(KERB_WASM_ENV *env);
double import_seed(KERB_WASM_ENV *env) {
  (void)env;
  uint64_t bits;
  memcpy(&bits, kerb_seed() + 8, sizeof bits); /* the first eight bytes are the stack protector's */
  return (double)(bits >> 11);
}

double import_date_now(KERB_WASM_ENV *env);
double import_date_now(KERB_WASM_ENV *env) {
  (void)env;
  return (double)kerb_time_ms();
}

uint32_t import_kerbside_input_size(KERB_WASM_ENV *env);
uint32_t import_kerbside_input_size(KERB_WASM_ENV *env) {
  (void)env;
  return (uint32_t)call.in_size;
}

void import_kerbside_read_input(KERB_WASM_ENV *env, uint32_t to);
void import_kerbside_read_input(KERB_WASM_ENV *env, uint32_t to) {
  (void)env;
  memcpy((uint8_t *)range(to, call.in_size), call.in, call.in_size);
}

void import_kerbside_write_output(KERB_WASM_ENV *env, uint32_t from, uint32_t size);
void import_kerbside_write_output(KERB_WASM_ENV *env, uint32_t from, uint32_t size) {
  (void)env;
  const uint8_t *output = range(from, size);
  *call.out_size = size;
  /* More than was declared is not copied: the tender sees the size and says so. */
  if (size <= call.out_capacity) memcpy(call.out, output, size);
}

void import_kerbside_refuse(KERB_WASM_ENV *env, uint32_t status);
void import_kerbside_refuse(KERB_WASM_ENV *env, uint32_t status) {
  (void)env;
  kerb_doorbells()->done(status, 0);
}
