/*
 * A fork that stalls while a table is reclaimed, freed, and comes back in the same frame.
 * Catches: COMPLETE_BY_COMPARISON REFERENCE_BEFORE_MARK SETTLE_POPULATED_ONLY NO_FLUSH FREED_BEFORE_WALK FLUSH_BEFORE_WALK FLUSH_PASSES_A_CPU_BY RECLAIMED_STAYS_SYNCED RECLAIMED_STAYS_POPULATED
 */
#define CPUS 2
#define MMS 1
#define TABLES 1
#define HAS_FORK
#define HAS_RECLAIM
#define HAS_GROW
#define SETUP skip
#define RUN run Cpu(0, FORK, 1, 0); run Cpu(1, THEN(RECLAIM, GROW), 0, 1)
#include "../pgd.pml"
