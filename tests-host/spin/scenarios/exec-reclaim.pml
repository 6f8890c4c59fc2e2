/*
 * A task on one mm execs into another, exits, and its CPU leaves; a table is reclaimed meanwhile, and the slot grown into again.
 * Catches: PGD_FREED_AT_ONCE NO_VISIT_OF_CPUS
 */
#define CPUS 2
#define MMS 2
#define HAS_FORK
#define HAS_EXIT
#define HAS_RECLAIM
#define HAS_GROW
#define SETUP mem[PGD(1)] = 1; mem[TASK(0)] = 1; mem[LOADED(0)] = 1; cr3[0] = 1; mm[1] = IN_USE; mm_count[1] = 2
#define RUN run Cpu(0, THEN(FORK, THEN(EXIT, LEAVE)), 2, 0); run Cpu(1, THEN(RECLAIM, GROW), 0, 1)
#include "../pgd.pml"
