/*
 * A page of the user half is taken away while a CPU goes through its mm: it is not free while that CPU has it cached.
 * Catches: NO_BARRIER_BEHIND_ANNOUNCEMENT NO_BARRIER_BEFORE_ROOTS LOADED_BEFORE_ANNOUNCED
 */
#define CPUS 2
#define MMS 1
#define HAS_USER_FLUSH
#define SETUP mem[ANNOUNCED] = 1; mem[NAMED] = 1; mem[ENTRY] = 1
#define RUN run Cpu(0, PASS, 0, 0); run Cpu(1, TAKE, 0, 0)
#include "../pgd.pml"
