/* What signals do, one line per fact. The same program on Linux prints the same lines. */

#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static volatile sig_atomic_t count, last, depth, deepest, code, from_self, value;
static volatile uintptr_t where;
static sigjmp_buf back;

static void say(const char *what, long number)
{
	printf("%s: %ld\n", what, number);
}

static void note(int signal)
{
	count++;
	last = signal;
}

static void note_info(int signal, siginfo_t *info, void *context)
{
	(void)context;
	count++;
	last = signal;
	code = info->si_code;
	from_self = info->si_pid == getpid();
	value = info->si_value.sival_int;
	where = (uintptr_t)info->si_addr;
}

static void set(int signal, void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };
	sigemptyset(&action.sa_mask);
	sigaction(signal, &action, NULL);
}

static void set_info(int signal, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO };
	sigemptyset(&action.sa_mask);
	sigaction(signal, &action, NULL);
}

static void nest(int signal)
{
	depth++;
	if (depth > deepest)
		deepest = depth;
	if (depth < 3 && count++ < 5)
		raise(signal);
	depth--;
}

static void sleep_ms(long ms)
{
	struct timespec time = { ms / 1000, ms % 1000 * 1000000 };
	while (nanosleep(&time, &time) && errno == EINTR)
		;
}

/* A child that sends `signal` to its parent after a while. */
static pid_t send_later(int signal, int ms)
{
	pid_t child = fork();
	if (child == 0) {
		sleep_ms(ms);
		kill(getppid(), signal);
		_exit(0);
	}
	return child;
}

static void actions(void)
{
	set(SIGUSR1, nest, 0);
	raise(SIGUSR1);
	say("deepest without SA_NODEFER", deepest);
	deepest = count = 0;
	set(SIGUSR1, nest, SA_NODEFER);
	raise(SIGUSR1);
	say("deepest with SA_NODEFER", deepest);
	set(SIGUSR1, note, SA_RESETHAND);
	raise(SIGUSR1);
	struct sigaction old;
	sigaction(SIGUSR1, NULL, &old);
	say("default after SA_RESETHAND", old.sa_handler == SIG_DFL);
	set_info(SIGUSR1, note_info, 0);
	kill(getpid(), SIGUSR1);
	say("code of kill", code);
	say("from self", from_self);
	raise(SIGUSR1);
	say("code of raise", code);
	union sigval with = { .sival_int = 4711 };
	sigqueue(getpid(), SIGUSR1, with);
	say("code of sigqueue", code);
	say("value of sigqueue", value);
	say("SIGKILL cannot be caught", signal(SIGKILL, note) == SIG_ERR ? errno : 0);
	say("no such signal", kill(getpid(), 65) < 0 ? errno : 0);
	say("no such process", kill(99999, 0) < 0 ? errno : 0);
	say("myself", kill(getpid(), 0));
}

static void masks(void)
{
	sigset_t set_, old, pending;
	sigemptyset(&set_);
	sigaddset(&set_, SIGUSR1);
	sigaddset(&set_, SIGRTMIN);
	sigaddset(&set_, SIGKILL);
	sigprocmask(SIG_BLOCK, &set_, &old);
	sigprocmask(SIG_BLOCK, NULL, &old);
	say("SIGKILL is blocked", sigismember(&old, SIGKILL));
	set_info(SIGUSR1, note_info, 0);
	set_info(SIGRTMIN, note_info, 0);
	count = 0;
	for (int i = 0; i < 3; i++) {
		kill(getpid(), SIGUSR1);
		kill(getpid(), SIGRTMIN);
	}
	say("while blocked", count);
	sigpending(&pending);
	say("pending", sigismember(&pending, SIGUSR1) + 2 * sigismember(&pending, SIGRTMIN));
	siginfo_t info;
	struct timespec none = { 0, 0 };
	say("sigtimedwait takes one", sigtimedwait(&set_, &info, &none) == SIGUSR1);
	sigprocmask(SIG_UNBLOCK, &set_, NULL);
	say("real-time signals queue", count);

	/* sigsuspend: the handler runs with the mask, and the old mask is back afterwards. */
	sigprocmask(SIG_BLOCK, &set_, NULL);
	count = 0;
	kill(getpid(), SIGUSR1);
	sigset_t empty;
	sigemptyset(&empty);
	int result = sigsuspend(&empty);
	say("sigsuspend", result < 0 ? errno : 0);
	say("handled in sigsuspend", count);
	sigprocmask(SIG_BLOCK, NULL, &old);
	say("blocked again", sigismember(&old, SIGUSR1));
	struct timespec short_ = { 0, 20000000 };
	say("sigtimedwait ends", sigtimedwait(&set_, &info, &short_) < 0 ? errno : 0);
	pid_t child = send_later(SIGUSR1, 30);
	say("sigwaitinfo", sigwaitinfo(&set_, &info) == SIGUSR1 && info.si_pid == child);
	wait(NULL);
	sigprocmask(SIG_UNBLOCK, &set_, NULL);
	/* An ignored signal that is blocked is dropped. */
	sigprocmask(SIG_BLOCK, &set_, NULL);
	kill(getpid(), SIGUSR1);
	signal(SIGUSR1, SIG_IGN);
	sigpending(&pending);
	say("ignoring discards", sigismember(&pending, SIGUSR1));
	sigprocmask(SIG_UNBLOCK, &set_, NULL);
}

static void interrupted_calls(void)
{
	int ends[2];
	char byte;
	if (pipe(ends))
		exit(1);
	set(SIGUSR1, note, 0);
	send_later(SIGUSR1, 40);
	say("read without SA_RESTART", read(ends[0], &byte, 1) < 0 ? errno : 0);
	wait(NULL);
	set(SIGUSR1, note, SA_RESTART);
	pid_t child = fork();
	if (child == 0) {
		sleep_ms(40);
		kill(getppid(), SIGUSR1);
		sleep_ms(40);
		_exit(write(ends[1], "x", 1) != 1);
	}
	say("read with SA_RESTART", read(ends[0], &byte, 1));
	wait(NULL);
	send_later(SIGUSR1, 40);
	struct pollfd watched = { ends[0], POLLIN, 0 };
	say("poll even with SA_RESTART", poll(&watched, 1, 5000) < 0 ? errno : 0);
	wait(NULL);
	send_later(SIGUSR1, 40);
	struct timespec time = { 5, 0 };
	say("nanosleep", nanosleep(&time, &time) < 0 ? errno : 0);
	say("time left", time.tv_sec == 4);
	wait(NULL);
	/* Without a handler nothing is interrupted: a stop and a continuation pass by. */
	child = fork();
	if (child == 0) {
		struct timespec sleep_ = { 0, 200000000 }, now, then;
		clock_gettime(CLOCK_MONOTONIC, &then);
		int result = nanosleep(&sleep_, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
		long ms = (now.tv_sec - then.tv_sec) * 1000 + (now.tv_nsec - then.tv_nsec) / 1000000;
		_exit(result == 0 && ms >= 200 ? 7 : 8);
	}
	sleep_ms(50);
	kill(child, SIGSTOP);
	sleep_ms(50);
	kill(child, SIGCONT);
	int status;
	waitpid(child, &status, 0);
	say("a sleep goes on after a stop", WEXITSTATUS(status));
	child = fork();
	if (child == 0) {
		struct pollfd none = { ends[0], POLLIN, 0 };
		_exit(poll(&none, 1, 200) == 0 ? 7 : 8);
	}
	sleep_ms(50);
	kill(child, SIGSTOP);
	sleep_ms(50);
	kill(child, SIGCONT);
	waitpid(child, &status, 0);
	say("a poll goes on after a stop", WEXITSTATUS(status));
	close(ends[0]);
	signal(SIGPIPE, SIG_IGN);
	say("EPIPE", write(ends[1], "x", 1) < 0 ? errno : 0);
	child = fork();
	if (child == 0) {
		signal(SIGPIPE, SIG_DFL);
		_exit(write(ends[1], "x", 1) != 1);
	}
	waitpid(child, &status, 0);
	say("killed by SIGPIPE", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	close(ends[1]);
}

static void jump(int signal, siginfo_t *info, void *context)
{
	(void)context;
	last = signal;
	code = info->si_code;
	where = (uintptr_t)info->si_addr;
	siglongjmp(back, 1);
}

static void fix(int signal, siginfo_t *info, void *context)
{
	ucontext_t *user = context;
	(void)info;
	last = signal;
	/* Over the two bytes of ud2. */
	user->uc_mcontext.gregs[REG_RIP] += 2;
	user->uc_mcontext.gregs[REG_R12] = 42;
}

static __attribute__((noinline)) int recurse(int n)
{
	volatile char space[4096];
	space[0] = (char)n;
	return n < 0 ? 0 : recurse(n + 1) + space[0];
}

static void faults(void)
{
	static char alternate[65536];
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof alternate };
	sigaltstack(&stack, NULL);
	set_info(SIGSEGV, jump, SA_ONSTACK);
	set_info(SIGBUS, jump, 0);
	set_info(SIGFPE, jump, 0);
	set_info(SIGILL, jump, 0);
	set_info(SIGTRAP, jump, 0);
	if (!sigsetjmp(back, 1))
		*(volatile int *)0x1234 = 1;
	say("not mapped", code);
	say("address", where);
	char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!sigsetjmp(back, 1))
		page[100] = 1;
	say("not allowed", code);
	say("address in the page", where - (uintptr_t)page);
	if (!sigsetjmp(back, 1))
		((void (*)(void))page)();
	say("not executable", code);
	if (!sigsetjmp(back, 1))
		*(volatile int *)0x8000000000000000 = 1;
	say("not canonical", last == SIGSEGV ? code : 0);
	if (!sigsetjmp(back, 1))
		*(volatile int *)0xffffffff80000000 = 1;
	say("the kernel's half", last == SIGSEGV ? code : 0);
	if (!sigsetjmp(back, 1))
		__asm__ volatile("xorl %%edx, %%edx; movl $1, %%eax; xorl %%ecx, %%ecx; divl %%ecx" ::: "eax", "edx", "ecx");
	say("division by zero", last == SIGFPE ? code : 0);
	if (!sigsetjmp(back, 1))
		__asm__ volatile("ud2");
	say("no instruction", last == SIGILL ? code : 0);
	if (!sigsetjmp(back, 1))
		__asm__ volatile("int3");
	say("breakpoint", last == SIGTRAP ? code : 0);
	if (!sigsetjmp(back, 1))
		__asm__ volatile("hlt");
	say("privileged", last == SIGSEGV ? code : 0);
	if (!sigsetjmp(back, 1))
		__asm__ volatile("int $0x81");
	say("int 0x81", last == SIGSEGV ? code : 0);
	if (!sigsetjmp(back, 1))
		recurse(0);
	say("stack overflow on the alternate stack", last == SIGSEGV);
	set_info(SIGILL, fix, 0);
	long twelve = 0;
	__asm__ volatile("xorl %%r12d, %%r12d; ud2; movq %%r12, %0" : "=r"(twelve) : : "r12");
	say("a handler changes registers", twelve);
	set_info(SIGSEGV, jump, SA_ONSTACK);
	stack.ss_flags = SS_DISABLE;
	sigaltstack(&stack, NULL);
	say("too small a stack", (stack.ss_flags = 0, stack.ss_size = 100, sigaltstack(&stack, NULL) < 0 ? errno : 0));

	int kinds[] = { SIGSEGV, SIGILL, SIGFPE, SIGABRT, SIGTERM, SIGKILL, SIGALRM, SIGHUP, SIGRTMAX };
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		pid_t child = fork();
		if (child == 0) {
			struct rlimit none = { 0, 0 };
			setrlimit(RLIMIT_CORE, &none);
			signal(kinds[i], SIG_DFL);
			raise(kinds[i]);
			_exit(0);
		}
		int status;
		waitpid(child, &status, 0);
		say("dies of its signal", WIFSIGNALED(status) && WTERMSIG(status) == kinds[i]);
	}
	pid_t child = fork();
	if (child == 0) {
		sigset_t all;
		sigfillset(&all);
		sigprocmask(SIG_BLOCK, &all, NULL);
		signal(SIGSEGV, SIG_IGN);
		*(volatile int *)8 = 1;
		_exit(0);
	}
	int status;
	waitpid(child, &status, 0);
	say("a fault cannot be ignored", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

static void timers(void)
{
	set(SIGALRM, note, 0);
	count = 0;
	say("no alarm before", alarm(100));
	say("the alarm before", alarm(0));
	struct itimerval timer = { .it_value = { 0, 30000 }, .it_interval = { 0, 30000 } };
	setitimer(ITIMER_REAL, &timer, NULL);
	while (count < 3)
		pause();
	struct itimerval left;
	getitimer(ITIMER_REAL, &left);
	say("interval", left.it_interval.tv_usec);
	say("some is left", left.it_value.tv_usec > 0 && left.it_value.tv_usec <= 30000);
	memset(&timer, 0, sizeof timer);
	setitimer(ITIMER_REAL, &timer, &left);
	say("last signal", last);
	count = 0;
	sleep_ms(80);
	say("none after disarming", count);
	say("no such timer", setitimer(9, &timer, NULL) < 0 ? errno : 0);
	/* A child does not inherit it; a program that is executed does. */
	alarm(50);
	pid_t child = fork();
	if (child == 0)
		_exit(alarm(0));
	int status;
	waitpid(child, &status, 0);
	say("the child's alarm", WEXITSTATUS(status));
	say("rounded up", alarm(0));
	child = fork();
	if (child == 0) {
		signal(SIGALRM, SIG_DFL);
		ualarm(30000, 0);
		for (;;)
			;
	}
	waitpid(child, &status, 0);
	say("an endless loop ends", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	set(SIGVTALRM, note, 0);
	set(SIGPROF, note, 0);
	count = 0;
	timer.it_value.tv_usec = 20000;
	setitimer(ITIMER_VIRTUAL, &timer, NULL);
	while (count == 0)
		;
	say("time of its own", last);
	count = 0;
	setitimer(ITIMER_PROF, &timer, NULL);
	while (count == 0)
		;
	say("time of its own and the kernel's", last);
}

/* Waits, whatever signals come in between. */
static int status_of(pid_t child, int options)
{
	int status;
	while (waitpid(child, &status, options) < 0 && errno == EINTR)
		;
	return status;
}

static void stops(void)
{
	int status;
	set(SIGCHLD, note, 0);
	pid_t child = fork();
	if (child == 0) {
		raise(SIGSTOP);
		sleep_ms(100);
		_exit(3);
	}
	status = status_of(child, WUNTRACED);
	say("stopped by", WIFSTOPPED(status) ? WSTOPSIG(status) : 0);
	say("nothing more to tell", waitpid(child, &status, WUNTRACED | WNOHANG));
	kill(child, SIGCONT);
	status = status_of(child, WCONTINUED);
	say("continued", WIFCONTINUED(status));
	status = status_of(child, 0);
	say("exited", WIFEXITED(status) ? WEXITSTATUS(status) : 0);
	sleep_ms(20);
	set(SIGCHLD, note, SA_NOCLDSTOP);
	count = 0;
	child = fork();
	if (child == 0) {
		// Not SIGTSTP, which stops nobody whose group has no parent in the session: that depends on who started this.
		raise(SIGSTOP);
		_exit(0);
	}
	status_of(child, WUNTRACED);
	sleep_ms(20);
	say("SIGCHLD for a stop", count);
	kill(child, SIGKILL);
	status = status_of(child, 0);
	say("killed while stopped", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	sleep_ms(20);
	say("SIGCHLD for the end", count);
	/* A group of two. */
	signal(SIGCHLD, SIG_DFL);
	pid_t first = fork();
	if (first == 0) {
		setpgid(0, 0);
		pause();
	}
	setpgid(first, first);
	pid_t second = fork();
	if (second == 0) {
		setpgid(0, first);
		pause();
	}
	setpgid(second, first);
	say("a signal to a group", kill(-first, SIGTERM));
	int ended = 0;
	while (waitpid(-first, &status, 0) > 0)
		ended += WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM;
	say("both ended", ended);
	say("nobody left", kill(-first, 0) < 0 ? errno : 0);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	actions();
	masks();
	interrupted_calls();
	faults();
	timers();
	stops();
	puts("end of signals");
	return 0;
}
