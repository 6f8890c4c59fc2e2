/*
 * Forks of two mms, one after the other, while a table is moved and another growth wants the slot.
 * Catches: COMPLETE_BY_STORE FREED_BEFORE_WALK REPLACED_STAYS_SYNCED REPLACED_WITHOUT_FLUSH
 */
#define CPUS 3
#define MMS 1
#define HAS_FORK
#define HAS_REPLACE
#define HAS_GROW
#define SETUP skip
#define RUN run Cpu(0, FORK, 1, 0); run Cpu(1, REPLACE, 0, 1); run Cpu(2, GROW, 0, 0)
#include "../pgd.pml"
