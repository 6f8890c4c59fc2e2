// Ordeals (see ordeal.h) of a kernel by programs that mean ill: bad pointers to every call, instructions that are not theirs, forged
// frames, copies from memory that goes away, broken executables. `hostile WHAT...` runs these; without an argument, all of them.
#define _GNU_SOURCE
#include "ordeal.h"
#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>

#define CANONICAL_END 0x0000800000000000UL
#define KERNEL_TEXT 0xffffffff80110000UL
#define DIRECT_MAP 0xffff888000100000UL

static long call(long number, const unsigned long *a)
{
	register long r10 __asm__("r10") = a[3];
	register long r8 __asm__("r8") = a[4];
	register long r9 __asm__("r9") = a[5];
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return result;
}

static void nothing(int signal)
{
	(void)signal;
}

// Waits for a child of its own; whatever it did is its own business.
static void gone(pid_t child)
{
	int status;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
}

// Interrupts calls that wait, again and again.
static void interrupt_every(long microseconds)
{
	struct sigaction action = {.sa_handler = nothing};
	sigaction(SIGALRM, &action, NULL);
	struct itimerval timer = {{0, microseconds}, {0, microseconds}};
	setitimer(ITIMER_REAL, &timer, NULL);
}

// Memory that may not be touched, and the last bytes before it.
static char *edge(void)
{
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(pages + 4096, 4096, PROT_NONE);
	return pages + 4096;
}

// Whether a call would end more than its caller.
static int is_dangerous(long number, const unsigned long *a)
{
	switch (number) {
	case SYS_exit:
	case SYS_exit_group:
	case SYS_rt_sigreturn:
	case SYS_fork:
	case SYS_vfork:
	case SYS_clone:
	case SYS_clone3:
		return 1;
	case SYS_kill:
	case SYS_tkill:
	case SYS_tgkill:
	case SYS_rt_sigqueueinfo:
	case SYS_rt_tgsigqueueinfo:
		return (int)a[0] <= 100;
	default:
		return 0;
	}
}

static int one_number(long number)
{
	char *end = edge();
	const unsigned long values[] = {
		0, 9, 4095, (unsigned long)end, (unsigned long)end - 2000, CANONICAL_END - 1, CANONICAL_END, KERNEL_TEXT, DIRECT_MAP, -4096UL, -1UL, 1UL << 63, 0x80000000UL,
	};
	const int count = sizeof values / sizeof *values;
	static char good[65536];
	strcpy(good, "/tmp/nothing");
	interrupt_every(2000);
	// Enough of a call that waits, whatever its arguments are.
	int waits = 8;
	for (int n = 0; n < count && waits > 0; n++)
		for (int pattern = 0; pattern < 9; pattern++) {
			unsigned long a[6];
			for (int i = 0; i < 6; i++)
				// All the same; one bad and the others harmless; one bad among small numbers.
				a[i] = pattern == 0 || pattern == i + 1 ? values[n] : pattern < 7 ? (unsigned long)good : pattern == 7 ? (unsigned long)i : values[(n + i) % count];
			if (is_dangerous(number, a))
				continue;
			long result = call(number, a);
			if (result < -500 && result > -600)
				return WRONG;
			waits -= result == -EINTR;
		}
	return 0;
}

// Every call, with bad values in every register.
static int calls(void)
{
	for (long number = 0; number <= 450; number++) {
		pid_t child = fork();
		if (child == 0) {
			int quiet = open("/dev/null", O_RDWR);
			for (int fd = 0; fd < 10; fd++)
				dup2(quiet, fd);
			setsid();
			_exit(one_number(number));
		}
		int status;
		while (waitpid(child, &status, 0) < 0 && errno == EINTR)
			;
		if (WIFEXITED(status) && WEXITSTATUS(status) == WRONG) {
			dprintf(1, "call %ld returned what is the kernel's own\n", number);
			return WRONG;
		}
	}
	// Numbers that no kernel has.
	const unsigned long a[6] = {0};
	const long numbers[] = {451, 511, 512, 1000, 0x40000000, 0x7fffffff, -1, 1L << 62};
	for (unsigned n = 0; n < sizeof numbers / sizeof *numbers; n++)
		if (call(numbers[n], a) != -ENOSYS) {
			dprintf(1, "call %ld is there\n", numbers[n]);
			return WRONG;
		}
	return 0;
}

// Calls whose only fault is one address.
static int pointers(void)
{
	char *end = edge();
	const unsigned long bad[] = {0, 1, (unsigned long)end, CANONICAL_END - 1, CANONICAL_END, KERNEL_TEXT, DIRECT_MAP, -1UL};
	static char buffer[4096];
	int ends[2];
	if (pipe(ends))
		return WRONG;
	write(ends[1], buffer, 100);
	int zero = open("/dev/zero", O_RDWR), file = open("/tmp/pointers", O_RDWR | O_CREAT, 0600);
	write(file, buffer, 100);
	struct iovec vector = {buffer, 10};
	const unsigned long b = (unsigned long)buffer, v = (unsigned long)&vector;
	strcpy(buffer, "/tmp");
	// `X` stands for the address.
#define X 0x5858585858585858UL
	const struct {
		long number;
		unsigned long a[6];
	} table[] = {
		{SYS_read, {zero, X, 10}}, {SYS_pread64, {file, X, 10, 0}}, {SYS_read, {ends[0], X, 10}},
		{SYS_write, {file, X, 10}}, {SYS_write, {ends[1], X, 10}}, {SYS_pwrite64, {file, X, 10, 0}},
		{SYS_readv, {zero, X, 1}}, {SYS_writev, {file, X, 1}}, {SYS_open, {X, 0}}, {SYS_openat, {AT_FDCWD, X, 0}}, {SYS_stat, {X, b}},
		{SYS_stat, {b, X}}, {SYS_fstat, {0, X}}, {SYS_lstat, {X, b}}, {SYS_newfstatat, {AT_FDCWD, b, X, 0}}, {SYS_poll, {X, 1, 0}},
		{SYS_pipe, {X}}, {SYS_pipe2, {X, 0}}, {SYS_nanosleep, {X, 0}}, {SYS_access, {X, 0}}, {SYS_getcwd, {X, 4096}}, {SYS_chdir, {X}},
		{SYS_rename, {X, b}}, {SYS_rename, {b, X}}, {SYS_mkdir, {X, 0}}, {SYS_rmdir, {X}}, {SYS_unlink, {X}}, {SYS_symlink, {X, b}},
		{SYS_readlink, {X, b, 10}}, {SYS_chmod, {X, 0}}, {SYS_uname, {X}}, {SYS_getrusage, {0, X}}, {SYS_sysinfo, {X}},
		{SYS_execve, {X, 0, 0}}, {SYS_getrlimit, {0, X}}, {SYS_setrlimit, {0, X}}, {SYS_clock_gettime, {0, X}},
		{SYS_sigaltstack, {X, 0}}, {SYS_rt_sigpending, {X, 8}}, {SYS_getdents64, {0, b, 0}}, {SYS_statfs, {X, b}}, {SYS_statfs, {b, X}},
		{SYS_getrandom, {X, 10, 0}}, {SYS_futex, {X, 0, 0, 0}}, {SYS_preadv, {file, X, 1, 0}}, {SYS_pwritev, {file, X, 1, 0}},
		{SYS_epoll_ctl, {0, 1, 0, X}}, {SYS_truncate, {X, 0}}, {SYS_mknod, {X, 0, 0}}, {SYS_link, {X, b}}, {SYS_rt_sigtimedwait, {X, 0, 0, 8}},
		{SYS_ppoll, {X, 1, v, 0}},
	};
	int wrong = 0;
	for (unsigned n = 0; n < sizeof table / sizeof *table; n++) {
		if (table[n].number == SYS_getdents64)
			continue;
		for (unsigned k = 0; k < sizeof bad / sizeof *bad; k++) {
			unsigned long a[6];
			for (int i = 0; i < 6; i++)
				a[i] = table[n].a[i] == X ? bad[k] : table[n].a[i];
			// What means "none" is not bad.
			int optional = table[n].number == SYS_sigaltstack || table[n].number == SYS_setrlimit;
			if ((bad[k] == 0 && optional) || (bad[k] % 4 && table[n].number == SYS_futex))
				continue;
			long result = call(table[n].number, a);
			if (result != -EFAULT) {
				dprintf(1, "call %ld with a bad pointer %#lx: %ld\n", table[n].number, bad[k], result);
				wrong = 1;
			}
		}
	}
	close(file);
	unlink("/tmp/pointers");
	return wrong ? WRONG : 0;
}

static void escape(int n)
{
	unsigned long bad = n & 1 ? KERNEL_TEXT : CANONICAL_END;
	unsigned char descriptor[10] = {0xff, 0xff};
	switch (n / 2) {
	case 0: __asm__ volatile("hlt"); break;
	case 1: __asm__ volatile("cli"); break;
	case 2: __asm__ volatile("sti"); break;
	case 3: __asm__ volatile("outb %%al, $0xf4" ::"a"(0)); break;
	case 4: __asm__ volatile("inb $0x64, %%al" ::: "rax"); break;
	case 5: __asm__ volatile("movq %0, %%cr3" ::"r"(0L)); break;
	case 6: __asm__ volatile("movq %%cr0, %%rax" ::: "rax"); break;
	case 7: __asm__ volatile("movq %0, %%cr4" ::"r"(0L)); break;
	case 8: __asm__ volatile("movq %0, %%dr7" ::"r"(0L)); break;
	case 9: __asm__ volatile("lgdt %0" ::"m"(descriptor)); break;
	case 10: __asm__ volatile("lidt %0" ::"m"(descriptor)); break;
	case 11: __asm__ volatile("ltr %0" ::"r"((short)0x28)); break;
	case 12: __asm__ volatile("invlpg (%0)" ::"r"(bad)); break;
	case 13: __asm__ volatile("wrmsr" ::"c"(0xc0000082), "a"(0), "d"(0)); break;
	case 14: __asm__ volatile("rdmsr" ::"c"(0xc0000080) : "rax", "rdx"); break;
	case 15: __asm__ volatile("swapgs"); break;
	case 16: __asm__ volatile("movq %0, %%rcx; sysretq" ::"r"(bad) : "rcx"); break;
	case 17: __asm__ volatile("clts; wbinvd"); break;
	case 18: __asm__ volatile("xsetbv" ::"c"(0), "a"(1), "d"(0)); break;
	case 19: __asm__ volatile("stac"); break;
	case 20: __asm__ volatile("sysenter"); break;
	case 21: __asm__ volatile("vmcall"); break;
	// Where it has no business.
	case 22: __asm__ volatile("jmp *%0" ::"r"(bad)); break;
	case 23: __asm__ volatile("movq %0, %%rsp; push %%rax" ::"r"(bad)); break;
	case 24: __asm__ volatile("movq %0, %%rsp; syscall; ud2" ::"r"(bad), "a"(SYS_getpid)); break;
	case 25: __asm__ volatile("movb (%0), %%al" ::"r"(bad) : "rax"); break;
	case 26: __asm__ volatile("movb %%al, (%0)" ::"r"(bad)); break;
	case 27: __asm__ volatile("jmp *%0" ::"r"(CANONICAL_END - 4096)); break;
	// Segments and returns of the kernel's.
	case 28: __asm__ volatile("pushq $0x10; pushq %%rsp; pushq $0x202; pushq $0x8; pushq %0; iretq" ::"r"(bad)); break;
	case 29: __asm__ volatile("pushq $0x23; pushq %0; pushq $0x3202; pushq $0x2b; pushq %0; iretq" ::"r"(bad)); break;
	case 30: __asm__ volatile("movw %%ax, %%ss" ::"a"(n & 1 ? 0x10 : 0)); break;
	case 31: __asm__ volatile("movw %%ax, %%ds; movw %%ax, %%es" ::"a"(n & 1 ? 0x10 : 0x28)); break;
	case 32: __asm__ volatile("movw %%ax, %%fs; movw %%ax, %%gs" ::"a"(n & 1 ? 0x2b : 0xffff)); break;
	case 33: __asm__ volatile("pushq $0x8; pushq %0; lretq" ::"r"(bad)); break;
	// Flags that are not its own, or make trouble: trap, nested task, IOPL, alignment check, direction.
	case 34: __asm__ volatile("pushq $0x7d02; popfq; syscall; pushfq; popq %%rax" ::"a"(SYS_getpid) : "rcx", "r11"); break;
	case 35: __asm__ volatile("pushq $0x40602; popfq; syscall; movq 1(%%rsp), %%rax" ::"a"(SYS_getpid) : "rcx", "r11"); break;
	case 36: __asm__ volatile("pushq $0x100; popfq; nop; nop; syscall" ::"a"(SYS_getpid) : "rcx", "r11"); break;
	case 37: __asm__ volatile("divq %0" ::"r"(0L), "a"(1L), "d"(0L)); break;
	case 38: __asm__ volatile("fninit; pushq $0; fldcw (%%rsp); fldz; fdiv %%st(0), %%st(0); fwait" ::); break;
	case 39: __asm__ volatile("pushq $0; ldmxcsr (%%rsp); xorps %%xmm0, %%xmm0; divss %%xmm0, %%xmm0" ::: "xmm0"); break;
	case 40: __asm__ volatile("pushq $-1; ldmxcsr (%%rsp)" ::); break;
	case 41: __asm__ volatile("wrgsbase %0" ::"r"(bad)); break;
	case 42: __asm__ volatile("wrfsbase %0; syscall" ::"r"(bad), "a"(SYS_getpid) : "rcx", "r11"); break;
	case 43: __asm__ volatile("int3; int1; ud2"); break;
	case 44: __asm__ volatile("lock; .byte 0x90; sgdt %0" : "=m"(descriptor)); break;
	case 45: { volatile int deep[1 << 14]; deep[0] = n; escape(deep[0]); break; }
	default: break;
	}
}

// Instructions and jumps that are not for programs.
static int instructions(void)
{
	for (int n = 0; n < 92; n++) {
		pid_t child = fork();
		if (child == 0) {
			escape(n);
			_exit(0);
		}
		gone(child);
	}
	// Every vector.
	unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int vector = 0; vector < 256; vector++) {
		code[0] = 0xcd;
		code[1] = vector;
		code[2] = 0xc3;
		pid_t child = fork();
		if (child == 0) {
			((void (*)(void))code)();
			_exit(0);
		}
		gone(child);
	}
	return 0;
}

// Frames that no handler was called with.
static int frames(void)
{
	const unsigned long values[] = {0, -1UL, CANONICAL_END, CANONICAL_END - 4096, KERNEL_TEXT, DIRECT_MAP, 0x8, 0x10, 1UL << 63, 0x3f7fd7};
	for (unsigned word = 0; word < 56; word++)
		for (unsigned n = 0; n < sizeof values / sizeof *values; n++) {
			pid_t child = fork();
			if (child == 0) {
				static unsigned long frame[1024] __attribute__((aligned(64)));
				static char fx[512] __attribute__((aligned(64)));
				memset(fx, values[n], sizeof fx);
				// rip, rsp, rflags, cs and ss of a program's, at their places, and one word that is not.
				frame[0 + 5 + 15] = (unsigned long)(frame + 900);
				frame[0 + 5 + 16] = (unsigned long)nothing;
				frame[0 + 5 + 17] = 0x202;
				frame[0 + 5 + 18] = 0x33 | 0x2bUL << 48;
				frame[0 + 5 + 23] = n & 1 ? (unsigned long)fx : 0;
				frame[word] = values[n];
				__asm__ volatile("movq %0, %%rsp; syscall" ::"r"(frame), "a"(SYS_rt_sigreturn) : "memory");
				_exit(0);
			}
			gone(child);
		}
	const unsigned long stacks[] = {0, 8, CANONICAL_END - 8, CANONICAL_END, KERNEL_TEXT, DIRECT_MAP, -8UL};
	for (unsigned n = 0; n < sizeof stacks / sizeof *stacks; n++) {
		pid_t child = fork();
		if (child == 0) {
			stack_t stack = {(void *)stacks[n], 0, n & 1 ? 1UL << 40 : 8192};
			sigaltstack(&stack, NULL);
			struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_ONSTACK | SA_NODEFER};
			sigaction(SIGSEGV, &action, NULL);
			sigaction(SIGUSR1, &action, NULL);
			raise(SIGUSR1);
			_exit(0);
		}
		gone(child);
		child = fork();
		if (child == 0) {
			__asm__ volatile("movq %0, %%rsp; syscall" ::"r"(stacks[n]), "a"(SYS_rt_sigreturn) : "memory");
			_exit(0);
		}
		gone(child);
	}
	return 0;
}

static char *volatile arena;
#define ARENA (64 * 4096)

static unsigned long dice(unsigned long *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	return *state ^= *state << 17;
}

static void *mover(void *seed)
{
	unsigned long state = (unsigned long)seed * 2654435761 + 1;
	for (;;) {
		char *at = arena + dice(&state) % 64 * 4096;
		size_t len = (dice(&state) % 16 + 1) * 4096;
		if (at + len > arena + ARENA)
			len = arena + ARENA - at;
		switch (dice(&state) % 6) {
		case 0: munmap(at, len); break;
		case 1: mprotect(at, len, dice(&state) % 8); break;
		case 2: mremap(at, len, len + 4096, MREMAP_MAYMOVE | MREMAP_FIXED, arena + dice(&state) % 32 * 4096); break;
		case 3: madvise(at, len, MADV_DONTNEED); break;
		default: mmap(at, len, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0); break;
		}
	}
	return NULL;
}

static void *copier(void *seed)
{
	unsigned long state = (unsigned long)seed * 40503 + 7;
	int ends[2], zero = open("/dev/zero", O_RDWR);
	if (pipe2(ends, O_NONBLOCK))
		return NULL;
	for (;;) {
		char *at = arena + dice(&state) % (ARENA - 20000);
		size_t len = dice(&state) % 20000;
		struct iovec vector[2] = {{at, len / 2}, {at + len / 2, len / 2}};
		struct timespec soon = {0, 1000};
		switch (dice(&state) % 8) {
		case 0: read(zero, at, len); break;
		case 1: write(ends[1], at, len); break;
		case 2: read(ends[0], at, len); break;
		case 3: getrandom(at, len, 0); break;
		case 4: readv(zero, vector, 2); break;
		case 5: syscall(SYS_futex, (unsigned long)at & ~3UL, 0, 0, &soon, 0, 0); break;
		case 6: open(at, O_RDONLY); break;
		default: if (fork() == 0) _exit(0); waitpid(-1, NULL, WNOHANG); break;
		}
	}
	return NULL;
}

// Copies in flight from and to memory that goes away.
static int races(void)
{
	arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (long n = 1; n <= 6; n++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, n % 2 ? mover : copier, (void *)n))
			return WRONG;
	}
	for (;;)
		pause();
}

static void *writer(void *code)
{
	for (unsigned n = 0;; n++)
		((volatile unsigned char *)code)[1] = n;
	return NULL;
}

// Code that is written while it runs.
static int rewriting(void)
{
	unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	// mov $n, %eax; ret
	memcpy(code, "\xb8\0\0\0\0\xc3", 6);
	pthread_t thread;
	if (pthread_create(&thread, NULL, writer, code))
		return WRONG;
	for (;;)
		if (((int (*)(void))code)() > 255)
			return WRONG;
}

// The smallest program there is: it exits with 0.
struct image {
	Elf64_Ehdr header;
	Elf64_Phdr segments[2];
	unsigned char code[64];
};

static struct image image(void)
{
	struct image image = {
		.header = {
			.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
			.e_type = ET_EXEC,
			.e_machine = EM_X86_64,
			.e_version = EV_CURRENT,
			.e_entry = 0x400000 + offsetof(struct image, code),
			.e_phoff = offsetof(struct image, segments),
			.e_ehsize = sizeof(Elf64_Ehdr),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 2,
		},
		.segments = {
			{PT_LOAD, PF_R | PF_X, 0, 0x400000, 0x400000, sizeof image, sizeof image, 4096},
			{PT_LOAD, PF_R | PF_W, 0, 0x402000, 0x402000, 64, 8192, 4096},
		},
		// xor %edi, %edi; mov $60, %eax; syscall
		.code = {0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05},
	};
	return image;
}

static int executed(const void *bytes, size_t len)
{
	int file = open("/tmp/broken", O_WRONLY | O_CREAT | O_TRUNC, 0755);
	write(file, bytes, len);
	close(file);
	pid_t child = vfork();
	if (child == 0) {
		execl("/tmp/broken", "broken", NULL);
		_exit(77);
	}
	int status;
	waitpid(child, &status, 0);
	return status;
}

// Executables with something wrong in them.
static int executables(void)
{
	struct image good = image();
	if (executed(&good, sizeof good) != 0) {
		dprintf(1, "the smallest program does not run\n");
		return WRONG;
	}
	const unsigned long values[] = {0, 1, 0xff, 0xffff, 0x401001, CANONICAL_END - 4096, CANONICAL_END, KERNEL_TEXT, 1UL << 63, -1UL, -4096UL, 1UL << 40};
	// Each halfword of the headers, and each long one.
	for (size_t at = 0; at + 8 <= offsetof(struct image, code); at += 2)
		for (unsigned n = 0; n < sizeof values / sizeof *values; n++) {
			struct image bad = good;
			memcpy((char *)&bad + at, &values[n], at % 8 ? 2 : 8);
			executed(&bad, sizeof bad);
		}
	for (size_t len = 0; len < sizeof good; len += 7)
		executed(&good, len);
	executed("#!/tmp/broken\n", 14);
	executed("#!", 2);
	executed("#!\n", 3);
	unlink("/tmp/broken");
	return 0;
}

static long raw_clone(unsigned long flags, unsigned long stack, unsigned long parent_tid, unsigned long child_tid, unsigned long tls)
{
	register long r10 __asm__("r10") = child_tid;
	register long r8 __asm__("r8") = tls;
	long result;
	// A child touches no stack.
	__asm__ volatile("syscall; testq %%rax, %%rax; jnz 1f; movl $60, %%eax; xorl %%edi, %%edi; syscall; 1:"
			 : "=a"(result) : "a"(SYS_clone), "D"(flags), "S"(stack), "d"(parent_tid), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return result;
}

// Every flag of clone alone, every two of them, with bad stacks and addresses.
static int clones(void)
{
	const unsigned long bad[] = {0, 8, CANONICAL_END, KERNEL_TEXT, -1UL};
	for (int one = 0; one < 40; one++)
		for (int other = one; other < 40; other++) {
			unsigned long flags = 1UL << one | 1UL << other, with = bad[(one + other) % 5];
			// A child's end that is told by SIGSTOP and the like stops its parent.
			if ((flags | SIGCHLD) % 256 >= SIGSTOP && (flags | SIGCHLD) % 256 <= SIGTTOU)
				continue;
			if (flags % 256 >= SIGSTOP && flags % 256 <= SIGTTOU)
				continue;
			pid_t child = fork();
			if (child == 0) {
				alarm(1);
				for (int n = 0; n < 3; n++) {
					raw_clone(flags | (n ? SIGCHLD : 0), n == 2 ? with : 0, with, with, n ? 0 : with);
					raw_clone(flags | 0x100 | 0x800 | 0x10000, n == 2 ? with : 0, with, with, 0);
				}
				_exit(0);
			}
			gone(child);
		}
	unsigned long args[16] = {0};
	for (size_t size = 0; size < 200; size += 8) {
		for (int n = 0; n < 11; n++) {
			memset(args, 0, sizeof args);
			args[n] = bad[size / 8 % 5];
			pid_t child = fork();
			if (child == 0)
				_exit(syscall(SYS_clone3, args, size) == 0);
			gone(child);
		}
	}
	while (waitpid(-1, NULL, __WALL | WNOHANG) > 0)
		;
	return 0;
}

// Futexes on anything.
static int futexes(void)
{
	char *end = edge();
	const unsigned long places[] = {0, 2, (unsigned long)end - 4, (unsigned long)end, CANONICAL_END - 4, CANONICAL_END, KERNEL_TEXT & ~3UL, -4UL, (unsigned long)futexes & ~3UL};
	struct timespec soon = {0, 1000};
	for (int operation = 0; operation < 32; operation++)
		for (int flags = 0; flags < 4; flags++)
			for (unsigned n = 0; n < sizeof places / sizeof *places; n++)
				for (int value = -1; value < 2; value++)
					syscall(SYS_futex, places[n], operation | flags << 7, value, &soon, places[(n + 3) % 9], value);
	// Lists of robust ones, of which a thread's end reads all.
	for (unsigned n = 0; n < sizeof places / sizeof *places; n++) {
		pid_t child = fork();
		if (child == 0) {
			static unsigned long head[3];
			head[0] = (unsigned long)(n & 1 ? head + 1 : (void *)places[n]);
			head[1] = places[n];
			head[2] = places[(n + 1) % 9];
			syscall(SYS_set_robust_list, n & 2 ? (void *)places[n] : head, 24);
			syscall(SYS_set_tid_address, places[n]);
			_exit(0);
		}
		gone(child);
	}
	return 0;
}

static void clean(void)
{
	unlink("/tmp/broken");
	unlink("/tmp/nothing");
	rmdir("/tmp/nothing");
}

static const struct ordeal ORDEALS[] = {
	{"calls", calls, 0},   {"pointers", pointers, 0},       {"instructions", instructions, 0}, {"frames", frames, 0}, {"races", races, 700},
	{"rewriting", rewriting, 200}, {"executables", executables, 0}, {"clones", clones, 0},             {"futexes", futexes, 0}, {0},
};

int main(int argc, char **argv)
{
	run_all(ORDEALS, argc, argv);
	return 0;
}
