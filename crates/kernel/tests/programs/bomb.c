// Processes that are always about to be another one, and signals that have to reach them all. For the reference kernel only:
// it kills everybody. The argument "guest" says that this is wanted.

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHAINS 12
#define ROUNDS 10

static void nap(long milliseconds)
{
	struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
	nanosleep(&time, NULL);
}

// Lives on in its child, for ever. The number of processes stays the same, and each is in a fork most of its time.
static void hop(void)
{
	for (;;)
		if (fork() > 0)
			_exit(0);
}

// Whether nobody is left of `whom` after at most ten seconds.
static int gone(pid_t whom)
{
	for (int n = 0; n < 1000; n++) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (kill(whom, 0) && errno == ESRCH)
			return 1;
		nap(10);
	}
	return 0;
}

static int one_round(int everybody, int signal)
{
	int ready[2];
	if (pipe(ready))
		return 0;
	pid_t first = fork();
	if (first == 0) {
		setpgid(0, 0);
		for (int n = 0; n < CHAINS; n++)
			if (fork() == 0)
				hop();
		write(ready[1], "", 1);
		hop();
	}
	char c;
	read(ready[0], &c, 1);
	close(ready[0]);
	close(ready[1]);
	nap(20);
	pid_t whom = everybody ? -1 : -first;
	// Once: who gets away from it lives for ever.
	if (kill(whom, signal))
		return 0;
	return gone(whom);
}

int main(int argc, char **argv)
{
	if (argc < 2 || strcmp(argv[1], "guest"))
		return 2;
	for (int n = 0; n < ROUNDS; n++) {
		if (!one_round(1, SIGKILL)) {
			printf("round %d: somebody got away from kill(-1, SIGKILL)\n", n);
			return 1;
		}
		if (!one_round(0, n & 1 ? SIGKILL : SIGTERM)) {
			printf("round %d: somebody got away from a signal to the group\n", n);
			return 1;
		}
	}
	puts("nobody got away");
	return 0;
}
