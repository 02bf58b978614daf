/* use-memory.c with so little memory that isolation `vm` compares all of it. */
#define NAME "use-memory-small"
#define MEMORY (1 << 20)
#include "use-memory.c"
