/*
 * Two kernel threads attach one mm that nobody has visited since before a table was reclaimed; the slot is grown into again.
 * Catches: ATTACH_WITHOUT_LATE_INIT NO_TURNS SETTLE_BY_STORE
 */
#define CPUS 3
#define MMS 1
#define TABLES 1
#define HAS_ATTACH
#define HAS_EXIT
#define HAS_RECLAIM
#define HAS_GROW
/* A driver holds the mm. */
#define SETUP mem[PGD(1)] = 1; mm[1] = IN_USE; mm_count[1] = 1
#define RUN run Cpu(0, ATTACH, 1, 0); run Cpu(1, ATTACH, 1, 0); run Cpu(2, THEN(RECLAIM, GROW), 0, 1)
#include "../pgd.pml"
