/* Start-up of the guest. Built without stack protector: the canary does not exist before this code has made it. */
#include <locale.h>
#include <string.h>

#include "libos.h"

/* From the linker script. */
extern const char kerb_tls_image[], kerb_tls_image_size[], kerb_tls_size[], kerb_tls_align[];
extern void (*const kerb_init_start[])(void), (*const kerb_init_end[])(void);

/* From the seed of this call. Nothing that checks a canary may be on the stack. */
static void make_canary(const struct kerb_info *info) {
  uint64_t canary;
  memcpy(&canary, info->seed, sizeof canary);
  kerb_set_canary(canary & ~(uint64_t)0xff); /* a zero byte first, so that no string function can write the canary */
}

static void set_up_thread(void) {
  const size_t align = (size_t)kerb_tls_align > 0 ? (size_t)kerb_tls_align : 1;
  memcpy(kerb_thread_block((size_t)kerb_tls_size, align), kerb_tls_image, (size_t)kerb_tls_image_size);
  uselocale(LC_GLOBAL_LOCALE); /* musl's printf and multibyte functions ask the thread for its locale */
}

void kerb_start(const struct kerb_info *info) {
  kerb_doorbells_bind(info->isolation);
  if (info->abi_version != KERB_ABI_VERSION) kerb_abort(KERB_ABORT_ABI);
  set_up_thread();
  make_canary(info);
  kerb_heap_init(info->heap, info->heap_size);
  for (void (*const *init)(void) = kerb_init_start; init < kerb_init_end; init++) (*init)();

  kerb_doorbells()->ready();
  make_canary(info); /* in isolation `vm` the one above is that of all calls */

  size_t output_size = 0;
  const int status = kerb_task((const uint8_t *)info->input, info->input_size, (uint8_t *)info->output,
                               info->output_capacity, &output_size);
  kerb_stdio_flush();
  kerb_doorbells()->done((uint32_t)status, output_size);
}

const uint8_t *kerb_seed(void) { return ((const struct kerb_info *)KERB_INFO)->seed; }

uint64_t kerb_time_ms(void) { return ((const struct kerb_info *)KERB_INFO)->time_ms; }
