// Registers that belong to a program and not to the processor: segment selectors and bases, x87, MXCSR, XMM and flags, across switches,
// signals, fork and exec. Every line is a fact about Linux; the same lines come from this program on a Linux host.

#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

typedef unsigned long word;

enum { ARCH_SET_GS = 0x1001, ARCH_SET_FS = 0x1002, ARCH_GET_FS = 0x1003, ARCH_GET_GS = 0x1004 };

#define SELECTOR(name)                                                                                                \
	static unsigned name(void)                                                                                    \
	{                                                                                                             \
		unsigned value = 0;                                                                                   \
		__asm__ volatile("mov %%" #name ", %0" : "=r"(value));                                                \
		return value;                                                                                         \
	}                                                                                                             \
	static void set_##name(unsigned value)                                                                        \
	{                                                                                                             \
		__asm__ volatile("mov %0, %%" #name : : "r"(value));                                                  \
	}

SELECTOR(ds)
SELECTOR(es)
SELECTOR(gs)

static unsigned ss(void)
{
	unsigned value = 0;
	__asm__ volatile("mov %%ss, %0" : "=r"(value));
	return value;
}

static unsigned mxcsr(void)
{
	unsigned value;
	__asm__ volatile("stmxcsr %0" : "=m"(value));
	return value;
}

static void set_mxcsr(unsigned value)
{
	__asm__ volatile("ldmxcsr %0" : : "m"(value));
}

static unsigned control_word(void)
{
	unsigned short value;
	__asm__ volatile("fnstcw %0" : "=m"(value));
	return value;
}

static void set_control_word(unsigned short value)
{
	__asm__ volatile("fldcw %0" : : "m"(value));
}

// Names a selector without its number, which is the kernel's own affair.
static const char *called(unsigned selector)
{
	return selector == 0 ? "null" : selector == ss() ? "data" : "another";
}

static void state(const char *who)
{
	printf("%s: ds %s, es %s, gs %s, mxcsr %#x, x87 %#x\n", who, called(ds()), called(es()), called(gs()), mxcsr(),
	       control_word());
}

// Toward zero, in both.
enum { MXCSR = 0x7f80, CONTROL_WORD = 0xf7f, MXCSR_INITIAL = 0x1f80, CONTROL_WORD_INITIAL = 0x37f };

static void unusual(void)
{
	set_ds(ss());
	set_es(ss());
	set_mxcsr(MXCSR);
	set_control_word(CONTROL_WORD);
}

static void usual(void)
{
	set_ds(0);
	set_es(0);
	set_mxcsr(MXCSR_INITIAL);
	set_control_word(CONTROL_WORD_INITIAL);
}

static void wait_for(pid_t child)
{
	int status;
	if (waitpid(child, &status, 0) != child || status)
		printf("child ended with %#x\n", status);
}

static void *thread(void *name)
{
	state(name);
	return NULL;
}

static void inheritance(char *self)
{
	unusual();
	set_gs(ss());
	state("parent");
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		state("forked");
		fflush(stdout);
		execl(self, self, "executed", NULL);
		_exit(1);
	}
	wait_for(child);
	pthread_t other;
	pthread_create(&other, NULL, thread, "thread");
	pthread_join(other, NULL);
	state("parent still");
	set_gs(0);
	usual();
}

// Two processes on one processor, which give way to each other all the time: each has to find what is its own.
static void neighbours(void)
{
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof one, &one);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0)
		unusual();
	unsigned mine = child ? 0 : ss();
	unsigned rounding = child ? MXCSR_INITIAL : MXCSR;
	unsigned control = child ? CONTROL_WORD_INITIAL : CONTROL_WORD;
	word base = child ? 0x111000 : 0x222000, found = 0;
	syscall(SYS_arch_prctl, ARCH_SET_GS, base);
	int wrong = 0;
	for (int i = 0; i < 2000; i++) {
		sched_yield();
		syscall(SYS_arch_prctl, ARCH_GET_GS, &found);
		wrong += ds() != mine || es() != mine || mxcsr() != rounding || control_word() != control || found != base;
	}
	if (child == 0)
		_exit(wrong != 0);
	printf("neighbours: %d wrong\n", wrong);
	wait_for(child);
	syscall(SYS_arch_prctl, ARCH_SET_GS, 0);
}

// A base is what the last one to change it has made it: the call, or the load of a selector, which brings the descriptor's.
static void bases(void)
{
	word found = 1, words[2] = {0x1234, 0x5678}, read = 0;
	syscall(SYS_arch_prctl, ARCH_SET_GS, words);
	__asm__ volatile("movq %%gs:8, %0" : "=r"(read));
	printf("gs:8 is %#lx\n", read);
	for (int i = 0; i < 100; i++)
		sched_yield();
	__asm__ volatile("movq %%gs:0, %0" : "=r"(read));
	printf("gs:0 is %#lx\n", read);
	set_gs(ss());
	for (int i = 0; i < 100; i++)
		sched_yield();
	syscall(SYS_arch_prctl, ARCH_GET_GS, &found);
	printf("with a selector: %s, base %#lx\n", called(gs()), found);
	syscall(SYS_arch_prctl, ARCH_SET_GS, words);
	printf("with a base again: %s\n", called(gs()));
	printf("base beyond user space: %ld\n", syscall(SYS_arch_prctl, ARCH_SET_GS, 1UL << 63));
	// FS has the C library's thread pointer: nothing of it is used until that is back.
	word kept, base = 1, selector = 0, again = 1;
	__asm__ volatile("movq %%fs:0, %0" : "=r"(kept));
	__asm__ volatile("movl %[ss], %%fs\n"
			 "	movl $100, %%ebx\n"
			 "1:	movl %[yield], %%eax\n"
			 "	syscall\n"
			 "	decl %%ebx\n"
			 "	jnz 1b\n"
			 "	movl %%fs, %%r12d\n"
			 "	movl %[prctl], %%eax\n"
			 "	movl %[get], %%edi\n"
			 "	movq %[base], %%rsi\n"
			 "	syscall\n"
			 "	movl %[prctl], %%eax\n"
			 "	movl %[set], %%edi\n"
			 "	movq %[kept], %%rsi\n"
			 "	syscall\n"
			 "	movl %%fs, %%r13d\n"
			 "	movq %%r12, %[selector]\n"
			 "	movq %%r13, %[again]\n"
			 : [selector] "=m"(selector), [again] "=m"(again)
			 : [ss] "r"(ss()), [yield] "i"(SYS_sched_yield), [prctl] "i"(SYS_arch_prctl), [get] "i"(ARCH_GET_FS),
			   [set] "i"(ARCH_SET_FS), [base] "r"(&base), [kept] "r"(kept)
			 : "rax", "rbx", "rcx", "rdi", "rsi", "r11", "r12", "r13", "memory");
	printf("fs: %s, base %#lx, then %s\n", called(selector), base, called(again));
	// A bad selector.
	syscall(SYS_arch_prctl, ARCH_SET_GS, 0);
}

static void on_user(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)info;
	word xmm[2];
	__asm__ volatile("movups %%xmm15, %0" : "=m"(xmm));
	printf("handler: mxcsr %#x, x87 %#x, xmm15 %#lx\n", mxcsr(), control_word(), xmm[0]);
	ucontext_t *interrupted = context;
	printf("interrupted: mxcsr %#x, x87 %#x\n", interrupted->uc_mcontext.fpregs->mxcsr,
	       interrupted->uc_mcontext.fpregs->cwd);
	set_mxcsr(0x3f80);
	set_control_word(0x77f);
	__asm__ volatile("pxor %%xmm15, %%xmm15" : : : "xmm15");
	static int times;
	if (times++)
		interrupted->uc_mcontext.fpregs->mxcsr = 0x5f80;
}

static void across_signals(void)
{
	struct sigaction action = {.sa_sigaction = on_user, .sa_flags = SA_SIGINFO};
	sigaction(SIGUSR1, &action, NULL);
	set_mxcsr(MXCSR);
	set_control_word(CONTROL_WORD);
	for (int i = 0; i < 2; i++) {
		word before[2] = {0x0123456789abcdef, 0x1122334455667788}, after[2];
		long result;
		__asm__ volatile("movups %2, %%xmm15\n\tsyscall\n\tmovups %%xmm15, %1"
				 : "=a"(result), "=m"(after)
				 : "m"(before), "a"(SYS_kill), "D"(getpid()), "S"(SIGUSR1)
				 : "rcx", "r11", "memory", "xmm15");
		printf("afterwards: mxcsr %#x, x87 %#x, xmm15 %s\n", mxcsr(), control_word(),
		       memcmp(before, after, sizeof before) ? "changed" : "kept");
	}
	usual();
}

static sigjmp_buf back;
static volatile sig_atomic_t last_signal, last_code;

static void note(int signal, siginfo_t *info, void *context)
{
	(void)context;
	last_signal = signal;
	last_code = info->si_code;
	siglongjmp(back, 1);
}

// Runs an instruction that faults.
static void faulting(int which)
{
	double zero = 0.0, one = 1.0, huge = 1e308;
	unsigned short unmasked;
	switch (which) {
	case 0:
		unmasked = 0x37b; // division by zero
		__asm__ volatile("fldcw %0\n\tfldl %2\n\tfdivl %1\n\tfwait" : : "m"(unmasked), "m"(zero), "m"(one));
		break;
	case 1:
		unmasked = 0x37e; // invalid operation
		__asm__ volatile("fldcw %0\n\tfldl %1\n\tfldl %1\n\tfdivp\n\tfwait" : : "m"(unmasked), "m"(zero));
		break;
	case 2:
		unmasked = 0x377; // overflow, on the way to memory
		__asm__ volatile("fldcw %0\n\tfldl %1\n\tfldl %1\n\tfmulp\n\tfstpl %1\n\tfwait" : "+m"(unmasked), "+m"(huge));
		break;
	case 3:
		__asm__ volatile("movl $0x10, %%eax\n\tmovl %%eax, %%ds" : : : "rax");
		break;
	case 4:
		__asm__ volatile("hlt");
		break;
	case 5:
		__asm__ volatile("ud2");
		break;
	case 6:
		__asm__ volatile("xorl %%eax, %%eax\n\tdivl %%eax" : : : "rax", "rdx");
		break;
	case 7:
		__asm__ volatile("movq $0x8000000000000000, %%rax\n\tmovb (%%rax), %%al" : : : "rax");
		break;
	}
}

static void exceptions(void)
{
	static const char *names[] = {"x87 division by zero", "x87 invalid operation", "x87 overflow", "kernel's selector",
				      "privileged instruction", "no instruction", "division by zero", "no address"};
	struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};
	sigaction(SIGFPE, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGILL, &action, NULL);
	sigaction(SIGTRAP, &action, NULL);
	for (volatile int i = 0; i < 8; i++) {
		last_signal = 0;
		if (!sigsetjmp(back, 1))
			faulting(i);
		printf("%s: signal %d, code %d, mxcsr %#x, x87 %#x\n", names[i], (int)last_signal, (int)last_code, mxcsr(),
		       control_word());
	}
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1) {
		state(argv[1]);
		return 0;
	}
	state("start");
	inheritance(argv[0]);
	neighbours();
	bases();
	across_signals();
	exceptions();
	puts("done");
	return 0;
}
