/* The smallest guest of Solo5: one word, and the end. Built by the bench itself where Solo5's tool chain is. */
#include "solo5.h"

int solo5_app_main(const struct solo5_start_info *info) {
  (void)info;
  solo5_console_write("hello\n", 6);
  return SOLO5_EXIT_SUCCESS;
}
