// Ordeals: cases that each run in a child, twice, which has to end by itself or be killed. The kernel, the other processes and this one
// go on, and all of the memory comes back: the second time may leave no less than the first.
#pragma once

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Statuses of a child: all there was has been refused; or it went as it must not.
enum { REFUSED = 40, WRONG = 99 };

struct ordeal {
	const char *name;
	int (*run)(void);
	// Milliseconds after which all of it is killed; 0 for what has to end.
	int patience;
};

// Removes what a case has left in the file system.
static void clean(void);

static void nap(long milliseconds)
{
	struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
	nanosleep(&time, NULL);
}

// What /proc/meminfo says, in KiB.
struct account {
	// Frames that are free or that the kernel keeps for later, whoever has them.
	long frames;
	// What is in use of the kernel's heap.
	long heap;
};

static struct account look(void)
{
	struct account account = {0, 0};
	char line[128];
	FILE *file = fopen("/proc/meminfo", "r");
	while (file && fgets(line, sizeof line, file)) {
		char name[32];
		long kib;
		if (sscanf(line, "%31[^:]: %ld", name, &kib) != 2)
			continue;
		if (!strcmp(name, "MemFree") || !strcmp(name, "Cached") || !strcmp(name, "Slab") || !strcmp(name, "VmallocUsed"))
			account.frames += kib;
		if (!strcmp(name, "SUnreclaim"))
			account.heap = kib;
	}
	if (file)
		fclose(file);
	return account;
}

// The same once all is quiet: the dead are freed when every processor has come by.
static struct account settled(void)
{
	struct account before = look();
	for (int quiet = 0, n = 0; quiet < 5 && n < 300; n++) {
		nap(10);
		struct account now = look();
		quiet = now.frames == before.frames && now.heap == before.heap ? quiet + 1 : 0;
		before = now;
	}
	return before;
}

static int ended_well(int status)
{
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGKILL;
	return WEXITSTATUS(status) == REFUSED || WEXITSTATUS(status) == 0;
}

static int once(const struct ordeal *ordeal)
{
	int child = fork();
	if (child < 0) {
		printf("%s: cannot be started: %s\n", ordeal->name, strerror(errno));
		return 0;
	}
	if (child == 0) {
		setpgid(0, 0);
		_exit(ordeal->run());
	}
	setpgid(child, child);
	int status = 0;
	if (ordeal->patience)
		nap(ordeal->patience);
	else
		waitpid(child, &status, 0);
	// Whoever is left of it.
	kill(-child, SIGKILL);
	if (ordeal->patience)
		waitpid(child, &status, 0);
	while (kill(-child, 0) == 0)
		nap(1);
	clean();
	if (ended_well(status))
		return 1;
	printf("%s: ended with status %#x\n", ordeal->name, status);
	return 0;
}

static void run(const struct ordeal *ordeal)
{
	// Tables and lists of the kernel's (its list of mms, by processor, and that of tasks) stay as long as they ever were, and grow where more
	// happens at one moment than before. That comes to an end; what leaks does so every time.
	struct account before = {0, 0}, after = {0, 0};
	for (int n = 0; n < 10; n++) {
		if (!once(ordeal))
			return;
		after = settled();
		if (n > 0 && after.frames >= before.frames - 16 && after.heap <= before.heap + 8) {
			printf("%s: over\n", ordeal->name);
			return;
		}
		before = after;
	}
	printf("%s: leaks; %ld KiB of frames are left and %ld of the heap in use\n", ordeal->name, after.frames, after.heap);
}

// Runs those of `ordeals` that the arguments name; all, without any.
static void run_all(const struct ordeal *ordeals, int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (; ordeals->name; ordeals++) {
		int wanted = argc < 2;
		for (int argument = 1; argument < argc; argument++)
			wanted |= !strcmp(argv[argument], ordeals->name);
		if (wanted)
			run(ordeals);
	}
}
