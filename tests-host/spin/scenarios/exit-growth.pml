/*
 * A task exits, and its CPU stays on the mm, lazily, while a growth looks for it.
 * Catches: CPUS_BEFORE_TASKS NO_VISIT_OF_CPUS
 */
#define CPUS 2
#define MMS 1
#define STARTS_EMPTY
#define HAS_FORK
#define HAS_EXIT
#define HAS_GROW
#define SETUP skip
#define RUN run Cpu(0, THEN(FORK, EXIT), 1, 0); run Cpu(1, GROW, 0, 0)
#include "../pgd.pml"
