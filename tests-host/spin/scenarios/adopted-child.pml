/*
 * A kernel thread wants the mm of a child that another CPU is making, while the kernel grows.
 * Catches: ATTACH_BEFORE_READY READY_BEFORE_LATE_INIT
 */
#define CPUS 3
#define MMS 1
#define STARTS_EMPTY
#define HAS_CHILD
#define HAS_GROW
#define SETUP skip
#define RUN run Cpu(0, SPAWN, 1, 0); run Cpu(1, ADOPT, 1, 0); run Cpu(2, GROW, 0, 0)
#include "../pgd.pml"
