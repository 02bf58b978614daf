/* leak.c with so much memory that isolation `vm` restores it by KVM's dirty log. */
#define MEMORY (6 << 20)
#include "leak.c"
