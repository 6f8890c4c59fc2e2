/* fork, execve, wait, pipes, copy-on-write: a line for each, and status 0 if all of them work. */

#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN 20

static void require(int condition, const char *what)
{
	if (!condition) {
		printf("failed: %s\n", what);
		exit(1);
	}
}

/* Forks a child that runs this program again with `argument`, and returns its status. */
static int run_again(char *self, char *argument)
{
	pid_t child = fork();
	require(child >= 0, "fork");
	if (child == 0) {
		char *arguments[] = { self, argument, NULL };
		execv(self, arguments);
		_exit(127);
	}
	int status;
	require(waitpid(child, &status, 0) == child, "waitpid");
	return status;
}

static void statuses(char *self)
{
	for (int i = 0; i < CHILDREN; i++) {
		int status = run_again(self, "exit-23");
		require(WIFEXITED(status) && WEXITSTATUS(status) == 23, "the status of an exit");
	}
	int status = run_again(self, "segfault");
	require(WIFSIGNALED(status) && WTERMSIG(status) == 11, "the status of a segfault");
	puts("statuses arrive");
}

/* All children write to one pipe at once; every byte has to arrive. */
static void pipes(void)
{
	int ends[2];
	require(pipe(ends) == 0, "pipe");
	for (int i = 0; i < CHILDREN; i++) {
		pid_t child = fork();
		require(child >= 0, "fork");
		if (child == 0) {
			char block[1000];
			memset(block, 'a' + i, sizeof block);
			for (int n = 0; n < 10; n++)
				if (write(ends[1], block, sizeof block) != (ssize_t)sizeof block)
					_exit(1);
			_exit(0);
		}
	}
	close(ends[1]);
	long counts[CHILDREN] = { 0 };
	char buffer[4096];
	ssize_t length;
	while ((length = read(ends[0], buffer, sizeof buffer)) > 0)
		for (ssize_t i = 0; i < length; i++)
			counts[buffer[i] - 'a']++;
	require(length == 0, "the end of a pipe");
	for (int i = 0; i < CHILDREN; i++) {
		int status;
		require(wait(&status) > 0 && status == 0, "wait");
		require(counts[i] == 10000, "what went through a pipe");
	}
	close(ends[0]);
	puts("pipes carry everything");
}

/* What parent and child write after a fork, neither may see of the other. */
static void copy_on_write(void)
{
	enum { SIZE = 1 << 20 };
	char *memory = malloc(SIZE);
	require(memory != NULL, "malloc");
	memset(memory, 1, SIZE);
	pid_t child = fork();
	require(child >= 0, "fork");
	if (child == 0) {
		for (int i = 0; i < SIZE; i++) {
			if (memory[i] != 1)
				_exit(1);
			memory[i] = 2;
		}
		_exit(0);
	}
	for (int i = 0; i < SIZE; i += 4096)
		memory[i] = 3;
	int status;
	require(waitpid(child, &status, 0) == child && status == 0, "the child's memory");
	for (int i = 0; i < SIZE; i++)
		require(memory[i] == (i % 4096 ? 1 : 3), "the parent's memory");
	free(memory);
	puts("memory is copied on write");
}

int main(int count, char **arguments)
{
	if (count > 1 && strcmp(arguments[1], "exit-23") == 0)
		return 23;
	if (count > 1 && strcmp(arguments[1], "segfault") == 0) {
		*(volatile int *)8 = 1;
		return 0;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("hello");
	statuses(arguments[0]);
	pipes();
	copy_on_write();
	puts("goodbye");
	return 0;
}
