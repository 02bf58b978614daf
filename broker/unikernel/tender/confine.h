/* What the tender gives away before it looks at the image, outermost first. */
#ifndef KERBSIDE_TENDER_CONFINE_H
#define KERBSIDE_TENDER_CONFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define CONFINEMENT_SIZE 256

/*
 * Namespaces, user, capabilities, resource limits, Landlock, dumpability, time-stamp counter, no_new_privs. What a
 * kernel or container lacks is named in `summary` ("user 65534; mount and net namespaces; no Landlock: ..."); false,
 * with the summary saying why, only for what is essential.
 */
bool confine(uid_t user, char summary[CONFINEMENT_SIZE]);

#endif
