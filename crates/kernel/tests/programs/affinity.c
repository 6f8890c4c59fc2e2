/* Where a task runs: by its own choice, its parent's, and another's. One line, and status 0, if all of it works. */

#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void require(int condition, const char *what)
{
	if (!condition) {
		printf("failed: %s\n", what);
		exit(1);
	}
}

static unsigned here(void)
{
	unsigned cpu;
	require(syscall(SYS_getcpu, &cpu, NULL, NULL) == 0, "getcpu");
	return cpu;
}

static int pin(pid_t task, unsigned cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(task, sizeof set, &set);
}

int main(void)
{
	cpu_set_t all, set;
	require(sched_getaffinity(0, sizeof all, &all) == 0, "sched_getaffinity");
	int count = CPU_COUNT(&all), status;
	for (int round = 0; round < 20; round++) {
		unsigned cpu = round % count;
		require(pin(0, cpu) == 0 && here() == cpu, "a move of its own");
		/* To sleep and to give way changes nothing. */
		usleep(1000);
		sched_yield();
		require(here() == cpu, "to stay after a sleep");
		pid_t child = fork();
		if (child == 0)
			_exit(here() == cpu ? 0 : 1);
		require(waitpid(child, &status, 0) == child && status == 0, "a child that inherits");
	}
	/* One that computes is moved by another. */
	for (int cpu = 0; cpu < count; cpu++) {
		pid_t child = fork();
		if (child == 0) {
			while (here() != (unsigned)cpu)
				;
			_exit(0);
		}
		require(pin(child, cpu) == 0, "to move another");
		require(sched_getaffinity(child, sizeof set, &set) == 0 && CPU_COUNT(&set) == 1 && CPU_ISSET(cpu, &set),
			"what was set");
		require(waitpid(child, &status, 0) == child && status == 0, "one that was moved");
	}
	require(pin(0, 63) == -1 && errno == EINVAL, "a processor that is not there");
	require(pin(99999, 0) == -1 && errno == ESRCH, "a task that is not there");
	puts("tasks run where they may");
	return 0;
}
