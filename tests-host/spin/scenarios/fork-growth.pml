/*
 * A fork and a growth into an empty slot; the child runs, exits, and its CPU borrows its mm and leaves it.
 * Catches: NO_BARRIER_AT_BIRTH NO_BARRIER_BEFORE_WALK BUMP_BEFORE_STORE STAMP_AFTER_COPY
 */
#define CPUS 2
#define MMS 1
#define STARTS_EMPTY
#define HAS_FORK
#define HAS_EXIT
#define HAS_GROW
#define SETUP skip
#define RUN run Cpu(0, THEN(FORK, THEN(EXIT, LEAVE)), 1, 0); run Cpu(1, GROW, 0, 0)
#include "../pgd.pml"
