/*
 * Times what kernels are compared by. The same executable runs on the reference kernel and on Linux.
 *
 *     bench MILLISECONDS WORKERS[,WORKERS] ROW[,ROW]...
 *
 * For each number of workers and each row, worker n is a process pinned to processor n. It repeats the
 * row's operation for a fifth of the time unmeasured, and then for MILLISECONDS by CLOCK_MONOTONIC. A line for
 * each worker:
 *
 *     figure ROW WORKERS OPERATIONS NANOSECONDS PACE
 *
 * PACE is how many times in a second the processor goes round a loop that touches neither memory nor the
 * kernel, the slower one of just before and just after: it tells what the machine was worth at the time.
 *
 * The last line is "end of figures".
 */

#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define PAGES 256
/* How long a look at the pace takes, and what is counted at once: half a millisecond or so. */
#define LOOK UINT64_C(5000000)
#define ROUNDS 200000

static void require(int condition, const char *what)
{
	if (!condition) {
		dprintf(STDOUT_FILENO, "failed: %s: %m\n", what);
		_exit(1);
	}
}

static uint64_t now(void)
{
	struct timespec time;
	require(clock_gettime(CLOCK_MONOTONIC, &time) == 0, "clock_gettime");
	return time.tv_sec * UINT64_C(1000000000) + time.tv_nsec;
}

static void wait_for(pid_t child)
{
	int status;
	require(child > 0, "fork");
	require(waitpid(child, &status, 0) == child, "waitpid");
	require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child's status");
}

static void fork_exit(void)
{
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	wait_for(child);
}

static char *const environment[] = { NULL };

static void execute(char *path, char *argument)
{
	char *arguments[] = { path, argument, NULL };
	execve(path, arguments, environment);
	_exit(127);
}

/* The program has no C library: two instructions. */
static void fork_exec_bare(void)
{
	pid_t child = fork();
	if (child == 0)
		execute("/bin/nothing", NULL);
	wait_for(child);
}

static void vfork_exec_bare(void)
{
	pid_t child = vfork();
	if (child == 0)
		execute("/bin/nothing", NULL);
	wait_for(child);
}

/* The program is this one: the C library starts and ends. */
static void fork_exec_libc(void)
{
	pid_t child = fork();
	if (child == 0)
		execute("/bin/bench", "nothing");
	wait_for(child);
}

static int there[2], back[2];

static void start_echo(void)
{
	require(pipe(there) == 0 && pipe(back) == 0, "pipe");
	pid_t child = fork();
	require(child >= 0, "fork");
	if (child == 0) {
		char byte;
		close(there[1]);
		close(back[0]);
		while (read(there[0], &byte, 1) == 1)
			if (write(back[1], &byte, 1) != 1)
				break;
		_exit(0);
	}
	close(there[0]);
	close(back[1]);
}

static void ping(void)
{
	char byte = 'p';
	require(write(there[1], &byte, 1) == 1, "write");
	require(read(back[0], &byte, 1) == 1, "read");
}

static void end_echo(void)
{
	close(there[1]);
	close(back[0]);
	require(wait(NULL) > 0, "wait");
}

/* Fresh pages, so few that no kernel gives a large one. */
static void fault_pages(void)
{
	char *pages = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	require(pages != MAP_FAILED, "mmap");
	for (int page = 0; page < PAGES; page++)
		((volatile char *)pages)[page * PAGE] = 1;
	require(munmap(pages, PAGES * PAGE) == 0, "munmap");
}

static char token[1];

static void *end_at_once(void *argument)
{
	return argument;
}

static void thread_join(void)
{
	pthread_t thread;
	void *result;
	require(pthread_create(&thread, NULL, end_at_once, token) == 0, "pthread_create");
	require(pthread_join(thread, &result) == 0 && result == token, "pthread_join");
}

static void call_getppid(void)
{
	syscall(SYS_getppid);
}

static const struct row {
	const char *name;
	void (*operation)(void);
	/* Operations between two looks at the clock, and what each of them counts for. */
	unsigned batch, weight;
	void (*prepare)(void), (*finish)(void);
} rows[] = {
	{ "fork-exit-wait", fork_exit, 4, 1, NULL, NULL },
	{ "fork-exec-wait", fork_exec_bare, 4, 1, NULL, NULL },
	{ "fork-exec-libc-wait", fork_exec_libc, 4, 1, NULL, NULL },
	{ "vfork-exec-wait", vfork_exec_bare, 4, 1, NULL, NULL },
	{ "pipe-ping-pong", ping, 64, 1, start_echo, end_echo },
	{ "page-fault", fault_pages, 1, PAGES, NULL, NULL },
	{ "thread-create-join", thread_join, 8, 1, NULL, NULL },
	{ "getppid", call_getppid, 4096, 1, NULL, NULL },
};

struct result {
	uint64_t operations, nanoseconds, pace;
};

static uint64_t pace(void)
{
	uint64_t rounds = 0, elapsed, start = now();
	do {
		for (unsigned i = 0; i < ROUNDS; i++)
			__asm__ volatile("" : : "r"(i));
		rounds += ROUNDS;
		elapsed = now() - start;
	} while (elapsed < LOOK);
	return rounds * UINT64_C(1000000000) / elapsed;
}

static struct result repeat(const struct row *row, uint64_t nanoseconds)
{
	struct result result = { 0, 0, 0 };
	uint64_t start = now();
	do {
		for (unsigned i = 0; i < row->batch; i++)
			row->operation();
		result.operations += row->batch * row->weight;
		result.nanoseconds = now() - start;
	} while (result.nanoseconds < nanoseconds);
	return result;
}

static void pin(unsigned cpu)
{
	cpu_set_t set;
	unsigned on;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	require(sched_setaffinity(0, sizeof set, &set) == 0, "sched_setaffinity");
	require(syscall(SYS_getcpu, &on, NULL, NULL) == 0 && on == cpu, "the processor");
}

static void work(const struct row *row, unsigned cpu, uint64_t nanoseconds, int ready, int go, int results)
{
	char byte = 0;
	pin(cpu);
	if (row->prepare)
		row->prepare();
	repeat(row, nanoseconds / 5);
	require(write(ready, &byte, 1) == 1, "write");
	require(read(go, &byte, 1) == 1, "read");
	uint64_t before = pace();
	struct result result = repeat(row, nanoseconds);
	uint64_t after = pace();
	result.pace = before < after ? before : after;
	if (row->finish)
		row->finish();
	require(write(results, &result, sizeof result) == sizeof result, "write");
}

static void run(const struct row *row, unsigned workers, uint64_t nanoseconds)
{
	int ready[2], go[2], results[2];
	char byte = 0;
	require(pipe(ready) == 0 && pipe(go) == 0 && pipe(results) == 0, "pipe");
	for (unsigned cpu = 0; cpu < workers; cpu++) {
		pid_t child = fork();
		require(child >= 0, "fork");
		if (child == 0) {
			work(row, cpu, nanoseconds, ready[1], go[0], results[1]);
			_exit(0);
		}
	}
	/* All are warm before one is timed. */
	for (unsigned i = 0; i < workers; i++)
		require(read(ready[0], &byte, 1) == 1, "read");
	for (unsigned i = 0; i < workers; i++)
		require(write(go[1], &byte, 1) == 1, "write");
	for (unsigned i = 0; i < workers; i++) {
		int status;
		require(wait(&status) > 0 && status == 0, "a worker");
	}
	for (unsigned i = 0; i < workers; i++) {
		struct result result;
		require(read(results[0], &result, sizeof result) == sizeof result, "read");
		printf("figure %s %u %llu %llu %llu\n", row->name, workers, (unsigned long long)result.operations,
		       (unsigned long long)result.nanoseconds, (unsigned long long)result.pace);
		fflush(stdout);
	}
	for (int end = 0; end < 2; end++) {
		close(ready[end]);
		close(go[end]);
		close(results[end]);
	}
}

static const struct row *find(const char *name)
{
	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
		if (strcmp(rows[i].name, name) == 0)
			return &rows[i];
	printf("failed: there is no row %s\n", name);
	exit(1);
}

int main(int count, char **arguments)
{
	if (count == 2 && strcmp(arguments[1], "nothing") == 0)
		return 0;
	require(count == 4, "usage: bench MILLISECONDS WORKERS[,WORKERS] ROW[,ROW]...");
	uint64_t nanoseconds = strtoull(arguments[1], NULL, 10) * 1000000;
	for (char *name = strtok(arguments[3], ","); name; name = strtok(NULL, ",")) {
		const struct row *row = find(name);
		for (char *at = arguments[2]; *at;) {
			unsigned workers = strtoul(at, &at, 10);
			require(workers > 0, "a number of workers");
			run(row, workers, nanoseconds);
			at += *at == ',';
		}
	}
	puts("end of figures");
	return 0;
}
