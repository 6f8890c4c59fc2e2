// What the kernel may do with a program's memory on its behalf: what the program itself may, and no more. Every line is a
// fact about Linux; the same lines come from this program on a Linux host.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096

static int ends[2];

// 0, or the error.
static void say(const char *what, long result)
{
	printf("%s: %d\n", what, result >= 0 ? 0 : errno);
}

static char *map(int rights)
{
	char *p = mmap(NULL, 3 * PAGE, rights, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return p;
}

// A page with "contents" in it, and then these rights.
static char *page_with(int rights)
{
	char *p = map(PROT_READ | PROT_WRITE);
	strcpy(p, "contents");
	if (mprotect(p, PAGE, rights)) {
		perror("mprotect");
		exit(1);
	}
	return p;
}

// Out of the page and into it, by calls that copy in the different ways that kernels have.
static void all_ways(const char *name, int rights)
{
	printf("-- %s\n", name);
	char *p = page_with(rights);
	char buffer[16];
	say("write from it", write(ends[1], p, 8));
	struct iovec out = {p, 8}, in = {p, 8};
	say("writev from it", writev(ends[1], &out, 1));
	say("open of a path in it", open(p, O_RDONLY));
	write(ends[1], "12345678", 8);
	say("read into it", read(ends[0], p, 8));
	// A read that failed has taken nothing: this one would wait for ever.
	say("readv into it", readv(ends[0], &in, 1));
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	while (read(ends[0], buffer, sizeof buffer) > 0)
		;
	fcntl(ends[0], F_SETFL, 0);
	say("time into it", syscall(SYS_clock_gettime, CLOCK_MONOTONIC, p));
	say("stat into it", syscall(SYS_stat, "/", p));
	say("pipe into it", syscall(SYS_pipe, p));
	say("futex in it", syscall(SYS_futex, p, 128 /* FUTEX_WAIT_PRIVATE */, 1, NULL, NULL, 0));
	say("getcwd into it", syscall(SYS_getcwd, p, PAGE));
	say("poll in it", syscall(SYS_poll, p, 1, 0));
	say("action from it", syscall(SYS_rt_sigaction, SIGUSR2, p, NULL, 8));
	say("mask into it", syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, p, 8));
	munmap(p, 3 * PAGE);
}

// What a child sees of a page when it gets its rights back.
static int child_sees(char *p, int rights)
{
	pid_t child = fork();
	if (child == 0) {
		if (mprotect(p, PAGE, rights))
			_exit(1);
		if (strcmp(p, "contents"))
			_exit(2);
		if (rights & PROT_WRITE)
			strcpy(p, "the child's");
		_exit(0);
	}
	int status;
	waitpid(child, &status, 0);
	return status;
}

static void without_rights_across_fork(void)
{
	char *p = page_with(PROT_NONE);
	printf("child reads: %d\n", child_sees(p, PROT_READ));
	printf("child writes: %d\n", child_sees(p, PROT_READ | PROT_WRITE));
	say("parent's is still closed", write(ends[1], p, 8));
	mprotect(p, PAGE, PROT_READ | PROT_WRITE);
	printf("parent sees: %s\n", p);
	strcpy(p, "the parent's");
	printf("parent sees: %s\n", p);
	// Closed while it is shared with a child that lives on.
	p = page_with(PROT_READ | PROT_WRITE);
	int go[2];
	if (pipe(go))
		exit(1);
	pid_t child = fork();
	if (child == 0) {
		char c;
		read(go[0], &c, 1);
		_exit(strcmp(p, "contents") != 0);
	}
	mprotect(p, PAGE, PROT_NONE);
	say("shared and closed", write(ends[1], p, 8));
	mprotect(p, PAGE, PROT_READ | PROT_WRITE);
	strcpy(p, "changed");
	write(go[1], "", 1);
	int status;
	waitpid(child, &status, 0);
	printf("child kept its own: %d\n", status);
}

static void contents_come_and_go(void)
{
	char *p = page_with(PROT_NONE);
	mprotect(p, PAGE, PROT_READ);
	printf("kept: %s\n", p);
	mprotect(p, PAGE, PROT_NONE);
	say("dropped", madvise(p, PAGE, MADV_DONTNEED));
	mprotect(p, PAGE, PROT_READ | PROT_WRITE);
	printf("dropped: <%s>\n", p);
	// A mapping that begins without rights, as allocators make them.
	char *reserve = map(PROT_NONE);
	say("reserve", write(ends[1], reserve, 1));
	mprotect(reserve + PAGE, PAGE, PROT_READ | PROT_WRITE);
	say("its middle", write(ends[1], reserve + PAGE, 1));
	char page[PAGE];
	while (read(ends[0], page, sizeof page) == sizeof page)
		;
	char *moved = mremap(page_with(PROT_NONE), PAGE, 16 * PAGE, MREMAP_MAYMOVE);
	say("moved", write(ends[1], moved, 1));
	mprotect(moved, PAGE, PROT_READ);
	printf("moved: %s\n", moved);
}

static void *touched;

static void on_fault(int signal, siginfo_t *info, void *context)
{
	(void)context;
	printf("signal %d, code %d, at the page: %d\n", signal, info->si_code, info->si_addr == touched);
	// Opened by the handler: the access is made again.
	mprotect(touched, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static void own_accesses(void)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
	sigaction(SIGSEGV, &action, NULL);
	touched = page_with(PROT_NONE);
	printf("read: %c\n", *(volatile char *)touched);
	touched = page_with(PROT_NONE);
	*(volatile char *)touched = 'C';
	printf("written: %s\n", (char *)touched);
	touched = page_with(PROT_READ);
	*(volatile char *)touched = 'C';
	printf("written: %s\n", (char *)touched);
	touched = page_with(PROT_READ | PROT_WRITE);
	*(volatile unsigned char *)touched = 0xc3;
	((void (*)(void))touched)();
	puts("executed");
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (pipe(ends))
		return 1;
	all_ways("nothing", PROT_NONE);
	all_ways("read", PROT_READ);
	all_ways("write", PROT_WRITE);
	all_ways("execute", PROT_EXEC);
	all_ways("read, write", PROT_READ | PROT_WRITE);
	without_rights_across_fork();
	contents_come_and_go();
	own_accesses();
	puts("done");
	return 0;
}
