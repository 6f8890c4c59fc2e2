/*
 * Software follows an entry of the reference PGD while its table is reclaimed.
 * Catches: NO_GRACE_PERIOD
 */
#define CPUS 2
#define MMS 1
#define HAS_LOOK_UP
#define HAS_RECLAIM
#define SETUP skip
#define RUN run Cpu(0, LOOK_UP, 0, 0); run Cpu(1, RECLAIM, 0, 1)
#include "../pgd.pml"
