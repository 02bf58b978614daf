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

/*
 * Back to the priority of everybody. `confine` takes a real-time one where that is allowed: on a busy machine a tender would
 * otherwise stand in the same queue as the guest whose budget it watches. A tender that runs its guest in its own thread, as
 * isolation `vm` does, has to give it back first; what it forks never has it.
 */
void confine_priority(void);

#endif
