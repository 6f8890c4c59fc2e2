/*
 * A process makes another on its mm (CLONE_VM), behind a walk, exits, its CPU leaves the mm, and the other one runs there; the slot is reclaimed,
 * while the walk of an earlier reclaim is under way. The mm was made before the slot was grown into.
 * Catches: ATTACH_BY_STAMP
 */
#define CPUS 3
#define MMS 1
#define TABLES 1
#define HAS_FORK
#define HAS_CHILD
#define HAS_EXIT
#define HAS_RECLAIM
#define HAS_WALK
#define SETUP mem[GEN] = 1; mm[1] = IN_USE; mm_count[1] = 1
#define RUN run Cpu(0, THEN(FORK, THEN(CLONE, THEN(EXIT, THEN(LEAVE, RUN_IT)))), 1, 0); run Cpu(1, WALK, 0, 0); run Cpu(2, RECLAIM, 0, 1)
#include "../pgd.pml"
