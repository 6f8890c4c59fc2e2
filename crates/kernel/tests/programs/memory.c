/* What mmap and its kin do, and what threads do in one address space; one line per fact. The same program on Linux
 * prints the same lines. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096L

static sigjmp_buf back;
static volatile int faulted;

static void say(const char *what, long number)
{
	printf("%s: %ld\n", what, number);
}

static void jump(int signal)
{
	faulted = signal;
	siglongjmp(back, 1);
}

/* The signal that a load from, or a store to, an address ends in; 0 for none. */
static int touch(volatile char *address, int store)
{
	faulted = 0;
	if (!sigsetjmp(back, 1)) {
		if (store)
			*address = 1;
		else
			(void)*address;
	}
	return faulted;
}

static char *map(long pages, int prot, int flags)
{
	char *address = mmap(NULL, pages * PAGE, prot, flags | MAP_ANONYMOUS, -1, 0);
	return address == MAP_FAILED ? NULL : address;
}

static void mappings(void)
{
	char *p = map(8, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	say("zeros", p[0] + p[8 * PAGE - 1]);
	memset(p, 7, 8 * PAGE);
	say("munmap of the middle", munmap(p + 2 * PAGE, 2 * PAGE));
	say("a hole", touch(p + 2 * PAGE, 0));
	say("its neighbours", p[2 * PAGE - 1] + p[4 * PAGE]);
	say("mprotect over a hole", mprotect(p, 8 * PAGE, PROT_READ) < 0 ? errno : 0);
	say("mprotect", mprotect(p + 4 * PAGE, PAGE, PROT_READ));
	say("a store", touch(p + 4 * PAGE, 1));
	say("back", mprotect(p + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE));
	say("a store", touch(p + 4 * PAGE, 1));
	mprotect(p + 5 * PAGE, PAGE, PROT_NONE);
	say("PROT_NONE", touch(p + 5 * PAGE, 0));
	int file = open("/dev/zero", O_RDONLY);
	say("read to read-only memory", (mprotect(p, PAGE, PROT_READ), read(file, p, 10)) < 0 ? errno : 0);
	close(file);
	say("not aligned", munmap(p + 1, PAGE) < 0 ? errno : 0);
	say("nothing", munmap(p, 0) < 0 ? errno : 0);
	say("no length", mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0);
	say("no kind", mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0);
	say("too much", mmap(NULL, 1L << 47, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0);
	say("no file", mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 99, 0) == MAP_FAILED ? errno : 0);
	say("fixed over itself", mmap(p, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
	say("zeros again", p[0]);
	say("fixed without replacing", mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED ? errno : 0);
	memset(p, 9, PAGE);
	say("MADV_DONTNEED", madvise(p, PAGE, MADV_DONTNEED));
	say("zeros once more", p[0]);
	say("nonsense advice", madvise(p, PAGE, 12345) < 0 ? errno : 0);
	say("advice about a hole", madvise(p + 2 * PAGE, PAGE, MADV_DONTNEED) < 0 ? errno : 0);

	/* mremap: in place, moved, shorter. */
	p = map(4, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	for (int i = 0; i < 4; i++)
		p[i * PAGE] = (char)(i + 1);
	char *q = mremap(p, 4 * PAGE, 400 * PAGE, MREMAP_MAYMOVE);
	say("mremap", q != MAP_FAILED && q[0] == 1 && q[3 * PAGE] == 4 && q[399 * PAGE] == 0);
	q = mremap(q, 400 * PAGE, 2 * PAGE, 0);
	say("shorter", q != MAP_FAILED && q[PAGE] == 2 && touch(q + 2 * PAGE, 0) == SIGSEGV);
	char *wall = mmap(q + 2 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	say("no room", mremap(q, 2 * PAGE, 3 * PAGE, 0) == MAP_FAILED ? errno : 0);
	p = mremap(q, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE);
	say("moved", p != q && p[0] == 1 && p[PAGE] == 2 && p[2 * PAGE] == 0);
	say("the old place", touch(q, 0));
	munmap(wall, PAGE);
	char *to = map(3, PROT_READ, MAP_PRIVATE);
	q = mremap(p, 3 * PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	say("to a fixed place", q == to && q[PAGE] == 2 && touch(q, 1) == 0);
	say("nothing there", mremap(p, PAGE, 2 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED ? errno : 0);
	/* malloc and realloc go through all of it. */
	char *big = NULL;
	long sum = 0;
	for (long size = 1000; size < 8000000; size *= 3) {
		big = realloc(big, size);
		big[size - 1] = 1;
		big[size / 3] = 2;
		sum += big[size / 3] + big[size - 1];
	}
	free(big);
	say("realloc", sum);
	char *start = sbrk(0);
	say("sbrk", sbrk(10000) == start && touch(start + 9999, 1) == 0);
	say("and back", sbrk(-10000) == start + 10000 && sbrk(0) == start);

	/* Shared memory across fork, touched before and after. */
	p = map(2, PROT_READ | PROT_WRITE, MAP_SHARED);
	q = map(2, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	p[0] = q[0] = 1;
	pid_t child = fork();
	if (child == 0) {
		p[0]++;
		p[PAGE] = 5;
		q[0] = 9;
		_exit(0);
	}
	waitpid(child, NULL, 0);
	say("shared", p[0] * 10 + p[PAGE]);
	say("private", q[0]);

	/* Files: private mappings, beyond the end, and after a change. */
	file = open("/tmp/mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
	for (int i = 0; i < 5000; i++)
		if (write(file, "abcdefghij" + i % 10, 1) != 1)
			return;
	p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	say("a file", p[0] == 'a' && p[4999] == 'j' && p[5000] == 0);
	say("beyond the end", touch(p + 2 * PAGE, 0));
	p[0] = 'X';
	char first = 0;
	say("private to the program", pread(file, &first, 1, 0) == 1 && first == 'a');
	say("at an offset", ((char *)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, PAGE))[0] == "abcdefghij"[4096 % 10]);
	say("a wrong offset", mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 100) == MAP_FAILED ? errno : 0);
	close(file);
	say("after close", p[1] == 'b');
	file = open("/tmp/mapped", O_WRONLY);
	say("a file that cannot be read", mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0) == MAP_FAILED ? errno : 0);
	close(file);
	unlink("/tmp/mapped");

	/* Code that is written, then run. */
	p = map(1, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	memcpy(p, "\xb8\x2a\x00\x00\x00\xc3", 6);
	mprotect(p, PAGE, PROT_READ | PROT_EXEC);
	say("made code", ((int (*)(void))(uintptr_t)p)());

	/* The stack grows, as far as its limit. */
	child = fork();
	if (child == 0) {
		volatile char space[4 << 20];
		space[0] = 1;
		_exit(space[0]);
	}
	int status;
	waitpid(child, &status, 0);
	say("four megabytes of stack", WIFEXITED(status));
	say("mincore", mincore(p, PAGE, (unsigned char *)q));
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_key_t key;
static __thread int own = 5;
static long total, turn, serial, destroyed;

static void destroy(void *value)
{
	__atomic_add_fetch(&destroyed, (long)value, __ATOMIC_SEQ_CST);
}

static void *work(void *argument)
{
	long me = (long)argument;
	pthread_setspecific(key, (void *)me);
	own += (int)me;
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&mutex);
		total++;
		pthread_mutex_unlock(&mutex);
	}
	for (int i = 0; i < 50; i++) {
		pthread_mutex_lock(&mutex);
		while (turn % 4 != me - 1)
			pthread_cond_wait(&condition, &mutex);
		turn++;
		pthread_cond_broadcast(&condition);
		pthread_mutex_unlock(&mutex);
	}
	for (int i = 0; i < 20; i++)
		if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
			__atomic_add_fetch(&serial, 1, __ATOMIC_SEQ_CST);
	return (void *)(long)own;
}

static void *take_and_die(void *argument)
{
	pthread_mutex_lock(argument);
	return NULL;
}

static void *forever(void *argument)
{
	(void)argument;
	for (;;)
		pause();
	return NULL;
}

static void *nothing(void *argument)
{
	return argument;
}

static void threads(void)
{
	pthread_t thread[4];
	pthread_key_create(&key, destroy);
	pthread_barrier_init(&barrier, NULL, 4);
	for (long i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, work, (void *)(i + 1));
	long sum = 0;
	for (int i = 0; i < 4; i++) {
		void *result;
		pthread_join(thread[i], &result);
		sum += (long)result;
	}
	say("a mutex", total);
	say("a condition", turn);
	say("a barrier", serial);
	say("thread-local", sum);
	say("destructors", destroyed);
	say("own stays", own);

	/* Robust locks, of threads and of processes. */
	pthread_mutexattr_t attributes;
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutex_t *shared = (pthread_mutex_t *)map(1, PROT_READ | PROT_WRITE, MAP_SHARED);
	pthread_mutex_init(shared, &attributes);
	pthread_create(&thread[0], NULL, take_and_die, shared);
	pthread_join(thread[0], NULL);
	say("the owner died", pthread_mutex_lock(shared));
	say("made consistent", pthread_mutex_consistent(shared));
	say("released", pthread_mutex_unlock(shared));
	pid_t child = fork();
	if (child == 0) {
		pthread_mutex_lock(shared);
		usleep(30000);
		raise(SIGKILL);
	}
	usleep(10000);
	struct timespec time;
	clock_gettime(CLOCK_REALTIME, &time);
	time.tv_sec += 5;
	say("the owner's process was killed", pthread_mutex_timedlock(shared, &time));
	pthread_mutex_consistent(shared);
	pthread_mutex_unlock(shared);
	waitpid(child, NULL, 0);
	sem_t *semaphore = (sem_t *)(shared + 1);
	sem_init(semaphore, 1, 0);
	child = fork();
	if (child == 0) {
		for (int i = 0; i < 100; i++)
			sem_post(semaphore);
		_exit(0);
	}
	for (int i = 0; i < 100; i++)
		sem_wait(semaphore);
	waitpid(child, NULL, 0);
	say("a semaphore of two processes", sem_trywait(semaphore) < 0 ? errno : 0);
	clock_gettime(CLOCK_REALTIME, &time);
	time.tv_nsec += 20000000;
	time.tv_sec += time.tv_nsec / 1000000000;
	time.tv_nsec %= 1000000000;
	say("a wait that ends", sem_timedwait(semaphore, &time) < 0 ? errno : 0);

	pthread_create(&thread[0], NULL, forever, NULL);
	pthread_cancel(thread[0]);
	void *result;
	pthread_join(thread[0], &result);
	say("cancelled", result == PTHREAD_CANCELED);
	for (long i = 0; i < 300; i++) {
		pthread_create(&thread[0], NULL, nothing, (void *)i);
		pthread_join(thread[0], &result);
		sum += (long)result;
	}
	say("300 threads", sum);
	say("a futex at a bad address", syscall(SYS_futex, 8L, 0, 0, NULL) < 0 ? errno : 0);
	int word = 1;
	say("a futex that has changed", syscall(SYS_futex, &word, 0, 2, NULL) < 0 ? errno : 0);
	struct timespec wrong = { 0, -1 };
	say("a futex with a wrong time", syscall(SYS_futex, &word, 0, 1, &wrong) < 0 ? errno : 0);
	say("a futex not aligned", syscall(SYS_futex, (char *)&word + 1, 0, 1, NULL) < 0 ? errno : 0);
	cpu_set_t cpus;
	say("some processor", (sched_getaffinity(0, sizeof cpus, &cpus), CPU_COUNT(&cpus) > 0));
}

/* x87, SSE and their control words, across preemption, signals, fork and system calls. */
static void handler(int signal)
{
	double zero = 0;
	unsigned control = 0x1fc0;
	__asm__ volatile("ldmxcsr %1; movsd %0, %%xmm6; pxor %%xmm7, %%xmm7; fninit; fldz" : : "m"(zero), "m"(control) : "xmm6", "xmm7");
	faulted = signal;
}

static int registers_survive(int rounds, int what)
{
	unsigned control = 0x3f80 | (unsigned)(what & 1) << 15, found;
	unsigned short word = (unsigned short)(0x037f | (what & 3) << 10), found_word;
	double values[2] = { what * 1.5, what * 2.5 }, out[2];
	long double sum = 0;
	unsigned long xmm = 0x1111111111111111UL * (unsigned long)(what & 15), xmm_out = 0;
	__asm__ volatile("ldmxcsr %0; fldcw %1" : : "m"(control), "m"(word));
	for (int i = 0; i < rounds; i++) {
		__asm__ volatile(
			"movups %3, %%xmm9; movq %4, %%xmm15; fldl %3\n"
			"movl $2000, %%ecx; 1: decl %%ecx; jnz 1b\n"
			"movl $24, %%eax; syscall\n"
			"movups %%xmm9, %0; movq %%xmm15, %1; fstpt %2\n"
			: "=m"(out), "=r"(xmm_out), "=m"(sum)
			: "m"(values), "r"(xmm)
			: "rax", "rcx", "r11", "xmm9", "xmm15", "memory");
		__asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(found), "=m"(found_word));
		if (out[0] != values[0] || out[1] != values[1] || sum != values[0] || xmm_out != xmm || (found & ~63U) != control || found_word != word)
			return 0;
	}
	return 1;
}

static void floating_point(void)
{
	pid_t children[4];
	signal(SIGALRM, handler);
	for (int i = 0; i < 4; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			struct timespec time = { 0, 1000000 };
			timer_t timer;
			(void)time;
			(void)timer;
			ualarm(3000, 3000);
			_exit(registers_survive(2000, i + 1) ? 0 : 1);
		}
	}
	int failures = 0, status;
	for (int i = 0; i < 4; i++) {
		waitpid(children[i], &status, 0);
		failures += status != 0;
	}
	say("processes whose registers changed", failures);
	unsigned control = 0xbf80, found = 0;
	__asm__ volatile("ldmxcsr %0" : : "m"(control));
	pid_t child = fork();
	if (child == 0) {
		__asm__ volatile("stmxcsr %0" : "=m"(found));
		_exit((found & ~63U) == control ? 3 : 4);
	}
	waitpid(child, &status, 0);
	say("a child's control word", WEXITSTATUS(status));
	control = 0x1f80;
	__asm__ volatile("ldmxcsr %0" : : "m"(control));
	/* Division by zero, unmasked: of the x87. QEMU's emulation never raises those of SSE. */
	signal(SIGFPE, jump);
	unsigned short word = 0x037b;
	double one = 1, none = 0;
	faulted = 0;
	if (!sigsetjmp(back, 1))
		__asm__ volatile("fldcw %0; fldl %1; fdivl %2; fwait" : : "m"(word), "m"(one), "m"(none));
	__asm__ volatile("fninit");
	say("a floating-point exception", faulted);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGSEGV, jump);
	signal(SIGBUS, jump);
	mappings();
	threads();
	floating_point();
	puts("end of memory");
	return 0;
}
