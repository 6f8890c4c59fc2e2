/*
 * The programs of `cargo xtask boot-storm`, without a C library: "storm N" keeps N workers going, each of which forks,
 * executes and ends processes and threads of every kind until it is killed. It ends by itself only when
 * something went wrong, with a status that says what.
 */

typedef unsigned long word;

enum {
	SYS_SCHED_YIELD = 24, SYS_CLONE = 56, SYS_FORK = 57, SYS_VFORK = 58, SYS_EXECVE = 59,
	SYS_EXIT = 60, SYS_WAIT4 = 61, SYS_EXIT_GROUP = 231,
};

enum {
	CLONE_VM = 0x100, CLONE_FS = 0x200, CLONE_FILES = 0x400, CLONE_SIGHAND = 0x800,
	CLONE_THREAD = 0x10000, SIGCHLD = 17,
};

/* Status of a leaf whose memory is right. */
enum { RIGHT = 42 };

static inline __attribute__((always_inline)) long syscall4(word number, word a, word b, word c, word d)
{
	long result;
	register word r10 __asm__("r10") = d;
	__asm__ volatile("syscall" : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
}

/* Inlined, like syscall4: the child of a vfork must not return into its parent's frames. */
static inline __attribute__((always_inline)) long call(word number, word argument)
{
	return syscall4(number, argument, 0, 0, 0);
}

static __attribute__((noreturn)) void leave(int status)
{
	for (;;)
		call(SYS_EXIT_GROUP, (word)status);
}

/* Starts `run` on the stack that ends at `top`, in a task that shares this one's memory. */
static long spawn(word flags, char *top, void (*run)(void))
{
	word *stack = (word *)((word)top & ~15ul);
	*--stack = 0;
	*--stack = (word)run;
	long result;
	register word r10 __asm__("r10") = 0;
	__asm__ volatile("syscall\n\t"
			 "test %%eax, %%eax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "pop %%rax\n\t"
			 "call *%%rax\n\t"
			 "1:"
			 : "=a"(result)
			 : "a"(SYS_CLONE), "D"(flags), "S"(stack), "d"(0), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
}

#define PAGES 16
#define PAGE 4096

static volatile char memory[PAGES * PAGE];
static char stacks[2][8192] __attribute__((aligned(16)));
static char *self[] = { "/bin/storm", "leaf", 0 };
static char *environment[] = { 0 };
static word chance;

static word below(word limit)
{
	chance ^= chance << 13;
	chance ^= chance >> 7;
	chance ^= chance << 17;
	return chance % limit;
}

/* A page of its own for each generation: a child that writes must not be seen by its parent. */
static void touch(char mark)
{
	word page = below(PAGES) * PAGE;
	memory[page] = mark;
	if (memory[page] != mark)
		leave(1);
}

static void yield(word times)
{
	while (times--)
		call(SYS_SCHED_YIELD, 0);
}

static __attribute__((noreturn)) void execute(void)
{
	syscall4(SYS_EXECVE, (word)self[0], (word)self, (word)environment, 0);
	leave(2);
}

/* Another thread, or another process in the same memory. Either may outlive its maker. */
static void other(void)
{
	yield(below(4));
	memory[0] = 'o';
	if (below(4) == 0)
		execute();
	for (;;)
		call(SYS_EXIT, RIGHT);
}

static __attribute__((noreturn)) void child(void)
{
	touch('c');
	switch (below(8)) {
	case 0:
	case 1:
		execute();
	case 2: {
		/* Vfork: the child borrows this stack until it executes. */
		long pid = call(SYS_VFORK, 0);
		if (pid == 0)
			execute();
		break;
	}
	case 3: {
		/* An orphan, which init reaps. */
		long pid = call(SYS_FORK, 0);
		if (pid == 0) {
			yield(below(8));
			touch('g');
			if (below(2))
				execute();
		}
		break;
	}
	case 4:
		spawn(CLONE_VM | SIGCHLD, stacks[0] + sizeof stacks[0], other);
		break;
	case 5:
		spawn(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD,
		      stacks[1] + sizeof stacks[1], other);
		if (below(2)) {
			/* The leader is the first to go. */
			for (;;)
				call(SYS_EXIT, RIGHT);
		}
		break;
	default:
		break;
	}
	leave(RIGHT);
}

static void work(void)
{
	for (;;) {
		touch('p');
		memory[PAGE] = 'p';
		long pid = call(SYS_FORK, 0);
		if (pid == 0) {
			memory[PAGE] = 'c';
			chance ^= (word)&pid + memory[0];
			below(2);
			child();
		}
		if (pid < 0) {
			/* No memory or no pid: others will end. */
			yield(1);
			continue;
		}
		int status = 0;
		/* Reaps the child, by its status; a vfork's child or a process in the same memory is another's. */
		if (syscall4(SYS_WAIT4, (word)pid, (word)&status, 0, 0) != pid)
			leave(3);
		if (status != RIGHT << 8)
			leave(4);
		if (memory[PAGE] != 'p')
			leave(5);
		below(2);
	}
}

/* Called with the stack as the kernel made it: the number of arguments, then the arguments. */
__attribute__((used)) static void start(word *stack)
{
	char **arguments = (char **)(stack + 1);
	chance = (word)stack * 0x9e3779b97f4a7c15ul | 1;
	if (stack[0] < 2)
		leave(6);
	if (arguments[1][0] == 'l') {
		touch('l');
		leave(RIGHT);
	}
	word workers = 0;
	for (char *digit = arguments[1]; *digit; digit++)
		workers = 10 * workers + (word)(*digit - '0');
	for (word worker = 0; worker < workers; worker++) {
		chance += worker * 0x9e3779b97f4a7c15ul;
		long pid = call(SYS_FORK, 0);
		if (pid < 0)
			leave(7);
		if (pid == 0)
			work();
	}
	for (;;) {
		int status = 0;
		if (syscall4(SYS_WAIT4, (word)-1, (word)&status, 0, 0) < 0)
			leave(8);
		/* A worker never ends by itself. */
		if (status != 0)
			leave(100 + (status >> 8));
	}
}

__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall start\n\thlt\n");
