// Ordeals (see ordeal.h) that take all there is of something. `exhaust WHAT...` runs these; without an argument, all of them.
#define _GNU_SOURCE
#include "ordeal.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

// Says whether a case has found its end as it should: what it wanted more of was refused, for one of these reasons.
static int refused(int error)
{
	switch (error) {
	case EAGAIN:
	case ENOMEM:
	case EMFILE:
	case ENFILE:
	case ENOSPC:
	case E2BIG:
		return REFUSED;
	default:
		dprintf(1, "refused with errno %d (%s)\n", error, strerror(error));
		return WRONG;
	}
}

// Touches memory until there is none. Ends by being killed, or when no more can be mapped.
static int memory(void)
{
	for (;;) {
		size_t len = 1 << 20;
		char *block = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (block == MAP_FAILED)
			return refused(errno);
		for (size_t at = 0; at < len; at += 4096)
			block[at] = 1;
	}
}

// The same by malloc, from four processes at once.
static int heaps(void)
{
	for (int n = 0; n < 3; n++) {
		int child = fork();
		if (child < 0)
			return refused(errno);
		if (child == 0)
			break;
	}
	for (;;) {
		char *block = malloc(100000);
		if (!block)
			return refused(ENOMEM);
		memset(block, 1, 100000);
	}
}

// The kernel touches it: a read into memory that is not there yet.
static int copies(void)
{
	int zero = open("/dev/zero", O_RDONLY);
	size_t len = 1UL << 40;
	char *block = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (zero < 0 || block == MAP_FAILED)
		return refused(errno);
	for (size_t at = 0;;) {
		ssize_t got = read(zero, block + at, 1 << 20);
		if (got <= 0)
			return errno == EFAULT ? REFUSED : refused(errno);
		at += got;
	}
}

// Copy-on-write: every process stores to what it shares with the others.
static int stores(void)
{
	size_t len = 8 << 20;
	volatile char *block = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (block == MAP_FAILED)
		return refused(errno);
	for (;;) {
		for (size_t at = 0; at < len; at += 4096)
			block[at]++;
		if (fork() < 0)
			return refused(errno);
	}
}

// Every process forks for ever. Whoever started it kills them all after a while.
static int forks(void)
{
	for (;;) {
		if (fork() < 0)
			sched_yield();
	}
	return 0;
}

// Each process has one child, and all of them wait.
static int tree(void)
{
	for (;;) {
		int child = fork();
		if (child < 0)
			return refused(errno);
		if (child > 0) {
			int status;
			while (waitpid(child, &status, 0) < 0)
				if (errno != EINTR)
					return WRONG;
			return WIFEXITED(status) ? WEXITSTATUS(status) : REFUSED;
		}
	}
}

// Children that end and are never waited for.
static int zombies(void)
{
	for (;;) {
		int child = fork();
		if (child < 0)
			return refused(errno);
		if (child == 0)
			_exit(0);
	}
}

static void *sleeper(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static int threads(void)
{
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 16384);
	for (;;) {
		pthread_t thread;
		int error = pthread_create(&thread, &attr, sleeper, NULL);
		if (error)
			return refused(error);
	}
}

static int descriptors(void)
{
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	for (;;)
		if (open("/dev/null", O_RDONLY) < 0)
			return refused(errno);
}

static int fill_pipes(void)
{
	static char bytes[65536];
	for (;;) {
		int ends[2];
		if (pipe2(ends, O_NONBLOCK) < 0)
			return errno;
		if (write(ends[1], bytes, sizeof bytes) < 0 && errno != EAGAIN)
			return errno;
	}
}

// Full pipes, in as many processes as it takes.
static int pipes(void)
{
	for (;;) {
		int error = fill_pipes();
		if (error != EMFILE)
			return refused(error);
		int child = fork();
		if (child < 0)
			return refused(errno);
		if (child > 0) {
			int status;
			waitpid(child, &status, 0);
			return WIFEXITED(status) ? WEXITSTATUS(status) : REFUSED;
		}
		// A child's copies would hold the parent's pipes only.
		close_range(3, ~0U, 0);
	}
}

static int watches(void)
{
	for (;;) {
		int set = epoll_create1(0), event = eventfd(0, 0);
		if (set < 0 || event < 0)
			return refused(errno);
		for (int fd = 3; fd < event; fd++) {
			struct epoll_event wanted = {.events = EPOLLIN};
			if (epoll_ctl(set, EPOLL_CTL_ADD, event, &wanted) < 0 && errno != EEXIST)
				return refused(errno);
		}
	}
}

static int files(void)
{
	static char bytes[1 << 20];
	mkdir("/tmp/files", 0700);
	for (int n = 0;; n++) {
		char name[64];
		snprintf(name, sizeof name, "/tmp/files/%d", n);
		int file = open(name, O_WRONLY | O_CREAT, 0600);
		if (file < 0)
			return refused(errno);
		ssize_t written = write(file, bytes, sizeof bytes);
		if (written < (ssize_t)sizeof bytes)
			return written < 0 ? refused(errno) : REFUSED;
		close(file);
	}
}

static int names(void)
{
	mkdir("/tmp/names", 0700);
	for (int n = 0;; n++) {
		char name[64];
		snprintf(name, sizeof name, "/tmp/names/%d", n);
		if (mkdir(name, 0700) < 0)
			return refused(errno);
	}
}

// Removes what `files` and `names` made.
static void clean(void)
{
	for (const char *const *folder = (const char *const[]){"/tmp/files", "/tmp/names", NULL}; *folder; folder++)
		for (int n = 0;; n++) {
			char name[64];
			snprintf(name, sizeof name, "%s/%d", *folder, n);
			if (unlink(name) < 0 && rmdir(name) < 0) {
				rmdir(*folder);
				break;
			}
		}
}

// As many mappings as there may be: neighbours differ.
static int mappings(void)
{
	size_t pages = 1 << 20;
	char *area = mmap(NULL, pages * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		return refused(errno);
	for (size_t page = 0; page < pages; page += 2)
		if (mprotect(area + page * 4096, 4096, PROT_READ) < 0)
			return refused(errno);
	return WRONG;
}

// Page tables: one page in each 2 MiB.
static int tables(void)
{
	size_t len = 1UL << 42;
	char *block = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (block == MAP_FAILED)
		return refused(errno);
	for (size_t at = 0; at < len; at += 2 << 20)
		if (block[at])
			return WRONG;
	return WRONG;
}

static int arguments(void)
{
	static char *argv[1 << 16];
	char *string = malloc(128 << 10);
	// Just below the longest string there may be, and then more and more of them.
	memset(string, 'x', (128 << 10) - 2);
	string[(128 << 10) - 2] = 0;
	argv[0] = "exhaust";
	for (int count = 1; count < 100; count++) {
		argv[count] = string;
		int child = fork();
		if (child < 0)
			return refused(errno);
		if (child == 0) {
			execve("/proc/self/exe", argv, argv + count);
			_exit(refused(errno));
		}
		int status;
		waitpid(child, &status, 0);
		if (WIFSIGNALED(status) || WEXITSTATUS(status) == REFUSED)
			break;
		if (WEXITSTATUS(status))
			return WRONG;
	}
	// Very many short ones.
	for (int n = 1; n < (1 << 16) - 1; n++)
		argv[n] = "y";
	execve("/proc/self/exe", argv, argv);
	return refused(errno);
}

// Signals that wait, with their values, in many processes.
static int signals(void)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	for (;;) {
		int child = fork();
		if (child < 0)
			return refused(errno);
		if (child == 0)
			for (;;)
				pause();
		for (int n = 0; n < 5000; n++)
			if (sigqueue(child, SIGRTMIN, (union sigval){.sival_int = n}) < 0) {
				if (errno == EAGAIN)
					break;
				return refused(errno);
			}
	}
}

static const struct ordeal ORDEALS[] = {
	{"memory", memory, 0},   {"heaps", heaps, 0},         {"copies", copies, 0},       {"stores", stores, 1000},
	{"tables", tables, 0},   {"forks", forks, 800},      {"tree", tree, 0},           {"zombies", zombies, 0},
	{"threads", threads, 0}, {"descriptors", descriptors, 0}, {"pipes", pipes, 0},     {"watches", watches, 0},
	{"files", files, 0},     {"names", names, 0},         {"mappings", mappings, 0},   {"arguments", arguments, 0},
	{"signals", signals, 0}, {0},
};

int main(int argc, char **argv)
{
	run_all(ORDEALS, argc, argv);
	return 0;
}
