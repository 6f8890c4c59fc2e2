/*
 * A reclaim and two growths into the same slot at once, while a CPU runs on an mm.
 * Catches: MARK_WITHOUT_LOOKING PRESENT_IS_SYNCED HELPER_DOES_NOT_FLUSH
 */
#define CPUS 3
#define MMS 1
#define HAS_RECLAIM
#define HAS_GROW
#define SETUP mem[PGD(1)] = 1; mem[TASK(0)] = 1; mem[LOADED(0)] = 1; cr3[0] = 1; mm[1] = IN_USE; mm_count[1] = 2
#define RUN run Cpu(0, RECLAIM, 0, 1); run Cpu(1, GROW, 0, 0); run Cpu(2, GROW, 0, 0)
#include "../pgd.pml"
