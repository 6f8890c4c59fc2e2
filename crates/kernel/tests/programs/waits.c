/* What fork, vfork, clone, exec, exit and wait do, one line per fact. The same program on Linux prints the same lines. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char *self;

static void say(const char *what, long number)
{
	printf("%s: %ld\n", what, number);
}

static void sleep_ms(long ms)
{
	struct timespec time = { ms / 1000, ms % 1000 * 1000000 };
	while (nanosleep(&time, &time) && errno == EINTR)
		;
}

static pid_t child_that_exits(int code, int ms)
{
	pid_t child = fork();
	if (child == 0) {
		sleep_ms(ms);
		_exit(code);
	}
	return child;
}

static void waiting(void)
{
	int status = 0;
	siginfo_t info;
	say("no children", waitpid(-1, &status, 0) < 0 ? errno : 0);
	say("no children, WNOHANG", waitpid(-1, &status, WNOHANG) < 0 ? errno : 0);
	say("a wrong option", waitpid(-1, &status, 0x40) < 0 ? errno : 0);
	pid_t child = child_that_exits(5, 60);
	say("not yet", waitpid(child, &status, WNOHANG));
	say("nobody's child", waitpid(1, &status, 0) < 0 ? errno : 0);
	memset(&info, 0xff, sizeof info);
	say("waitid, not yet", waitid(P_PID, child, &info, WEXITED | WNOHANG));
	say("its pid", info.si_pid);
	say("waitid looks", waitid(P_PID, child, &info, WEXITED | WNOWAIT));
	say("si_code", info.si_code);
	say("si_status", info.si_status);
	say("si_signo", info.si_signo);
	say("the right child", info.si_pid == child);
	say("and it is still there", waitpid(child, &status, 0) == child);
	say("exit code", WEXITSTATUS(status));
	say("waitid without options", waitid(P_ALL, 0, &info, 0) < 0 ? errno : 0);
	say("waitid of a wrong kind", waitid(77, 0, &info, WEXITED) < 0 ? errno : 0);
	child = child_that_exits(0x1234, 0);
	waitpid(child, &status, 0);
	say("eight bits of a code", WEXITSTATUS(status));
	child = fork();
	if (child == 0) {
		raise(SIGKILL);
		_exit(0);
	}
	waitid(P_ALL, 0, &info, WEXITED);
	say("killed, si_code", info.si_code);
	say("killed, si_status", info.si_status);
	child = child_that_exits(0, 0);
	struct rusage usage;
	memset(&usage, 0xff, sizeof usage);
	say("wait4", wait4(child, &status, 0, &usage) == child);
	say("sane time", usage.ru_utime.tv_sec);
	/* A bad address: the child is gone all the same. */
	child = child_that_exits(0, 0);
	say("wait4 to a bad address", syscall(SYS_wait4, child, 8L, 0, 0) < 0 ? errno : 0);
	say("the child is gone", waitpid(child, NULL, 0) < 0 ? errno : 0);
	/* In any order, all of them once. */
	int sum = 0;
	for (int i = 1; i <= 10; i++)
		child_that_exits(i, i % 3);
	while (wait(&status) > 0)
		sum += WEXITSTATUS(status);
	say("sum of codes", sum);
	/* SIGCHLD ignored: nobody becomes a zombie, and wait sees them all end. */
	signal(SIGCHLD, SIG_IGN);
	child_that_exits(1, 20);
	say("with SIGCHLD ignored", wait(&status) < 0 ? errno : 0);
	signal(SIGCHLD, SIG_DFL);
	/* An orphan gets another parent. */
	int ends[2];
	if (pipe(ends))
		exit(1);
	child = fork();
	if (child == 0) {
		if (fork() == 0) {
			pid_t before = getppid();
			while (getppid() == before)
				sleep_ms(5);
			char same = getppid() != before ? 'y' : 'n';
			_exit(write(ends[1], &same, 1) != 1);
		}
		sleep_ms(10);
		_exit(0);
	}
	waitpid(child, &status, 0);
	char answer = 0;
	if (read(ends[0], &answer, 1) != 1)
		exit(1);
	say("an orphan is adopted", answer == 'y');
	close(ends[0]);
	close(ends[1]);
}

static int shared_counter;

static int count_up(void *argument)
{
	shared_counter += *(int *)argument;
	return 9;
}

static int close_it(void *argument)
{
	close(*(int *)argument);
	return 0;
}

static int go_away(void *argument)
{
	(void)argument;
	return chdir("/proc") != 0;
}

static void clones(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	int status, five = 5;
	pid_t child = vfork();
	if (child == 0) {
		shared_counter = 77;
		_exit(4);
	}
	say("vfork shares memory", shared_counter);
	waitpid(child, &status, 0);
	say("vfork's child's code", WEXITSTATUS(status));
	shared_counter = 0;
	child = clone(count_up, stack + sizeof stack, CLONE_VM | SIGCHLD, &five);
	waitpid(child, &status, 0);
	say("clone with CLONE_VM", shared_counter);
	say("its code", WEXITSTATUS(status));
	child = clone(count_up, stack + sizeof stack, SIGCHLD, &five);
	waitpid(child, &status, 0);
	say("without", shared_counter);
	/* No signal: only __WALL or __WCLONE sees it. */
	child = clone(count_up, stack + sizeof stack, 0, &five);
	say("no signal, plain wait", waitpid(child, &status, 0) < 0 ? errno : 0);
	say("no signal, __WALL", waitpid(child, &status, __WALL) == child);
	signal(SIGUSR2, SIG_IGN);
	child = clone(count_up, stack + sizeof stack, SIGUSR2, &five);
	say("another signal, __WCLONE", waitpid(child, &status, __WCLONE) == child);
	int file = open("/dev/null", O_RDONLY);
	child = clone(close_it, stack + sizeof stack, CLONE_FILES | SIGCHLD, &file);
	waitpid(child, &status, 0);
	say("CLONE_FILES", fcntl(file, F_GETFD) < 0 ? errno : 0);
	file = open("/dev/null", O_RDONLY);
	child = clone(close_it, stack + sizeof stack, SIGCHLD, &file);
	waitpid(child, &status, 0);
	say("without", fcntl(file, F_GETFD) < 0 ? errno : 0);
	close(file);
	if (chdir("/"))
		exit(1);
	char folder[100];
	child = clone(go_away, stack + sizeof stack, SIGCHLD, NULL);
	waitpid(child, &status, 0);
	say("without CLONE_FS", strlen(getcwd(folder, sizeof folder)));
	child = clone(go_away, stack + sizeof stack, CLONE_FS | SIGCHLD, NULL);
	waitpid(child, &status, 0);
	say("CLONE_FS", strlen(getcwd(folder, sizeof folder)));
	say("CLONE_SIGHAND without CLONE_VM", syscall(SYS_clone, CLONE_SIGHAND, 0, 0, 0, 0) < 0 ? errno : 0);
	say("CLONE_THREAD without CLONE_SIGHAND", syscall(SYS_clone, CLONE_VM | CLONE_THREAD, 0, 0, 0, 0) < 0 ? errno : 0);
	int tids[2] = { 0, 0 };
	child = syscall(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD, 0, &tids[0], &tids[1], 0);
	if (child == 0)
		_exit(0);
	waitpid(child, &status, 0);
	say("CLONE_PARENT_SETTID", tids[0] == child);
}

static void *sleeper(void *argument)
{
	(void)argument;
	for (;;)
		pause();
	return NULL;
}

static void *spinner(void *argument)
{
	(void)argument;
	for (;;)
		__asm__ volatile("pause");
	return NULL;
}

static void *executor(void *argument)
{
	char pid[20];
	(void)argument;
	snprintf(pid, sizeof pid, "%d", getpid());
	execl(self, self, "executed", pid, (char *)NULL);
	return NULL;
}

static void *exiter(void *argument)
{
	exit((int)(long)argument);
}

static void execs(void)
{
	int status;
	fflush(stdout);
	/* Any thread may execute a program; the process keeps its id, and the others are gone. */
	for (int leader = 0; leader < 2; leader++) {
		pid_t child = fork();
		if (child == 0) {
			pthread_t thread;
			for (int i = 0; i < 3; i++)
				pthread_create(&thread, NULL, i % 2 ? sleeper : spinner, NULL);
			if (leader)
				executor(NULL);
			pthread_create(&thread, NULL, executor, NULL);
			pthread_join(thread, NULL);
			_exit(99);
		}
		waitpid(child, &status, 0);
		say(leader ? "the leader executes" : "another thread executes", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
	}
	/* Two at once. */
	pid_t child = fork();
	if (child == 0) {
		pthread_t thread[4];
		for (int i = 0; i < 4; i++)
			pthread_create(&thread[i], NULL, executor, NULL);
		for (int i = 0; i < 4; i++)
			pthread_join(thread[i], NULL);
		_exit(99);
	}
	waitpid(child, &status, 0);
	say("four threads execute", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
	child = fork();
	if (child == 0) {
		pthread_t thread;
		pthread_create(&thread, NULL, spinner, NULL);
		pthread_create(&thread, NULL, exiter, (void *)6L);
		sleeper(NULL);
	}
	waitpid(child, &status, 0);
	say("a thread exits for all", WEXITSTATUS(status));
	child = fork();
	if (child == 0) {
		pthread_t thread;
		pthread_create(&thread, NULL, exiter, (void *)8L);
		pthread_exit(NULL);
	}
	waitpid(child, &status, 0);
	say("after the leader's end", WEXITSTATUS(status));
	child = fork();
	if (child == 0) {
		pthread_t thread;
		for (int i = 0; i < 3; i++)
			pthread_create(&thread, NULL, spinner, NULL);
		*(volatile int *)8 = 1;
	}
	waitpid(child, &status, 0);
	say("a fault ends all threads", WIFSIGNALED(status) ? WTERMSIG(status) : 0);

	char *none[] = { NULL }, *environment[] = { "A=b", NULL };
	say("no such file", execve("/no/such", none, none) < 0 ? errno : 0);
	say("a folder", execve("/proc", none, none) < 0 ? errno : 0);
	int file = open("/tmp/not-a-program", O_CREAT | O_WRONLY | O_TRUNC, 0644);
	say("not executable", execve("/tmp/not-a-program", none, none) < 0 ? errno : 0);
	fchmod(file, 0755);
	close(file);
	say("empty", execve("/tmp/not-a-program", none, none) < 0 ? errno : 0);
	say("a bad address", syscall(SYS_execve, 8L, none, none) < 0 ? errno : 0);
	say("bad arguments", syscall(SYS_execve, self, 8L, none) < 0 ? errno : 0);
	char *bad[] = { (char *)8, NULL };
	say("a bad argument", execve(self, bad, none) < 0 ? errno : 0);
	/* Cut, and with bytes changed: never a crash, of the kernel or of this program. */
	static char image[1 << 21];
	file = open(self, O_RDONLY);
	ssize_t size = read(file, image, sizeof image);
	close(file);
	unsigned seed = 1;
	int refused = 0, killed = 0, other = 0;
	for (int i = 0; i < 60; i++) {
		char name[] = "/tmp/broken";
		unlink(name);
		file = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0755);
		char head[4096];
		memcpy(head, image, sizeof head);
		for (int n = 0; n < 3; n++) {
			seed = seed * 1103515245 + 12345;
			/* In the headers. */
			head[16 + (seed >> 8) % 600] = (char)(seed >> 20);
		}
		ssize_t wrote = write(file, head, sizeof head);
		if (i % 3)
			wrote += write(file, image + sizeof head, size - sizeof head);
		close(file);
		child = fork();
		if (child == 0) {
			char *arguments[] = { name, "nothing", NULL };
			alarm(2);
			execve(name, arguments, environment);
			_exit(111);
		}
		waitpid(child, &status, 0);
		if (WIFSIGNALED(status))
			killed++;
		else if (WEXITSTATUS(status) == 111)
			refused++;
		else
			other++;
	}
	say("broken programs", refused + killed + other);
	say("some were refused", refused > 0);
	unlink("/tmp/broken");
	unlink("/tmp/not-a-program");
	/* A script, and a script that names itself. */
	file = open("/tmp/script", O_CREAT | O_WRONLY | O_TRUNC, 0755);
	dprintf(file, "#!%s executed-by-a-script\n", self);
	close(file);
	char *arguments[] = { "script", "one", NULL };
	child = fork();
	if (child == 0) {
		execve("/tmp/script", arguments, environment);
		_exit(111);
	}
	waitpid(child, &status, 0);
	say("a script", WEXITSTATUS(status));
	file = open("/tmp/script", O_WRONLY | O_TRUNC);
	dprintf(file, "#!/tmp/script\n");
	close(file);
	say("a script of itself", execve("/tmp/script", arguments, environment) < 0 ? errno : 0);
	unlink("/tmp/script");
	/* Descriptors: CLOEXEC, and what an executed program inherits. */
	int ends[2];
	if (pipe2(ends, O_CLOEXEC))
		exit(1);
	dup2(ends[1], 10);
	child = fork();
	if (child == 0) {
		char number[10];
		snprintf(number, sizeof number, "%d", ends[1]);
		execl(self, self, "descriptors", number, "10", (char *)NULL);
		_exit(111);
	}
	waitpid(child, &status, 0);
	say("close on exec", WEXITSTATUS(status));
	close(10);
	file = open(self, O_RDONLY);
	child = fork();
	if (child == 0) {
		fexecve(file, (char *[]){ self, "exit-3", NULL }, environment);
		_exit(111);
	}
	waitpid(child, &status, 0);
	say("fexecve", WEXITSTATUS(status));
	close(file);
	/* Signals: ignored stay ignored, caught do not, blocked stay blocked. */
	child = fork();
	if (child == 0) {
		sigset_t set;
		sigemptyset(&set);
		sigaddset(&set, SIGUSR1);
		sigprocmask(SIG_BLOCK, &set, NULL);
		signal(SIGUSR2, SIG_IGN);
		signal(SIGTERM, exit);
		execl(self, self, "signals", (char *)NULL);
		_exit(111);
	}
	waitpid(child, &status, 0);
	say("signals after exec", WEXITSTATUS(status));
	pid_t spawned;
	char *spawn_arguments[] = { self, "exit-3", NULL };
	say("posix_spawn", posix_spawn(&spawned, self, NULL, NULL, spawn_arguments, environment));
	waitpid(spawned, &status, 0);
	say("its code", WEXITSTATUS(status));
	say("posix_spawn of nothing", posix_spawn(&spawned, "/no/such", NULL, NULL, spawn_arguments, environment));
	/* Too much. */
	size_t many = 3 << 20;
	char *long_argument = malloc(many);
	memset(long_argument, 'x', many - 1);
	long_argument[many - 1] = 0;
	char *too_long[] = { self, long_argument, NULL };
	say("too long an argument", execve(self, too_long, environment) < 0 ? errno : 0);
	free(long_argument);
}

static void sessions(void)
{
	int status;
	pid_t child = fork();
	if (child == 0) {
		int result = 0;
		if (setsid() == getpid())
			result |= 1;
		if (getsid(0) == getpid() && getpgid(0) == getpid())
			result |= 2;
		if (setsid() < 0 && errno == EPERM)
			result |= 4;
		if (setpgid(0, 0) < 0 && errno == EPERM)
			result |= 8;
		if (setpgid(0, -1) < 0 && errno == EINVAL)
			result |= 16;
		_exit(result);
	}
	waitpid(child, &status, 0);
	say("a session", WEXITSTATUS(status));
	child = fork();
	if (child == 0) {
		setpgid(0, 0);
		_exit(0);
	}
	setpgid(child, child);
	say("wait for a group", waitpid(-child, &status, 0) == child);
	child = fork();
	if (child == 0) {
		execl(self, self, "sleep", (char *)NULL);
		_exit(1);
	}
	sleep_ms(100);
	say("too late for its group", setpgid(child, child) < 0 ? errno : 0);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	say("no such process", setpgid(99999, 0) < 0 ? errno : 0);
}

static void limits(void)
{
	struct rlimit limit, old;
	getrlimit(RLIMIT_NOFILE, &old);
	limit = old;
	limit.rlim_cur = 10;
	setrlimit(RLIMIT_NOFILE, &limit);
	int opened = 0, file;
	while ((file = open("/dev/null", O_RDONLY)) >= 0)
		opened++;
	say("EMFILE", errno);
	for (int i = 3; i < 10; i++)
		close(i);
	limit.rlim_cur = 20;
	limit.rlim_max = 10;
	say("soft above hard", setrlimit(RLIMIT_NOFILE, &limit) < 0 ? errno : 0);
	setrlimit(RLIMIT_NOFILE, &old);
	say("no such limit", getrlimit(99, &limit) < 0 ? errno : 0);
	struct tms times_;
	say("times", times(&times_) != (clock_t)-1);
}

int main(int count, char **arguments)
{
	self = realpath("/proc/self/exe", NULL);
	if (count > 1 && !strcmp(arguments[1], "executed"))
		return getpid() == atoi(arguments[2]) && syscall(SYS_gettid) == getpid() ? 21 : 22;
	if (count > 1 && !strcmp(arguments[1], "exit-3"))
		return 3;
	if (count > 1 && !strcmp(arguments[1], "sleep"))
		return sleep(5);
	if (count > 1 && !strcmp(arguments[1], "nothing"))
		return 0;
	if (count > 1 && !strcmp(arguments[1], "executed-by-a-script"))
		return count == 4 && !strcmp(arguments[2], "/tmp/script") && !strcmp(arguments[3], "one") && !strcmp(getenv("A"), "b") ? 31 : 32;
	if (count > 1 && !strcmp(arguments[1], "descriptors"))
		return (fcntl(atoi(arguments[2]), F_GETFD) < 0) + 2 * (fcntl(atoi(arguments[3]), F_GETFD) >= 0);
	if (count > 1 && !strcmp(arguments[1], "signals")) {
		struct sigaction action;
		sigset_t set;
		sigprocmask(SIG_BLOCK, NULL, &set);
		int result = sigismember(&set, SIGUSR1);
		sigaction(SIGUSR2, NULL, &action);
		result += 2 * (action.sa_handler == SIG_IGN);
		sigaction(SIGTERM, NULL, &action);
		return result + 4 * (action.sa_handler == SIG_DFL);
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	waiting();
	clones();
	execs();
	sessions();
	limits();
	puts("end of waits");
	return 0;
}
