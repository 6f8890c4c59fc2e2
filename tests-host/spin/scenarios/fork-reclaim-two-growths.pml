/*
 * A fork while a table is reclaimed and the slot grown into again by one CPU, and grown into by another.
 * Catches: COMPLETE_BY_COMPARISON
 */
#define CPUS 3
#define MMS 1
#define TABLES 1
#define HAS_FORK
#define HAS_RECLAIM
#define HAS_GROW
#define SETUP skip
#define RUN run Cpu(0, FORK, 1, 0); run Cpu(1, THEN(RECLAIM, GROW), 0, 1); run Cpu(2, GROW, 0, 0)
#include "../pgd.pml"
