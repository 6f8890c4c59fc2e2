// Files that are mapped and shared, files in memory, and locks on files: each line is a fact about Linux, printed here and on
// the host.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#define F_GET_SEALS 1034
#endif

#define PAGE 4096

static long said(long result) { return result < 0 ? -errno : result; }

static int must(int fd, const char *what)
{
    if (fd < 0) {
        printf("failed: %s: %s\n", what, strerror(errno));
        exit(1);
    }
    return fd;
}

static char *map(int fd, long offset, long len, int prot, int flags)
{
    char *at = mmap(NULL, len, prot, flags, fd, offset);
    return at == MAP_FAILED ? NULL : at;
}

static sigjmp_buf back;

static void jump(int signal) { siglongjmp(back, signal); }

static int touch(volatile char *at, int store)
{
    int signal = sigsetjmp(back, 1);
    if (signal == 0) {
        if (store)
            *at = 1;
        else
            (void)*at;
    }
    return signal;
}

static void a_file(void)
{
    char bytes[20] = {0};
    unlink("/tmp/shared.file");
    int fd = must(open("/tmp/shared.file", O_RDWR | O_CREAT, 0600), "open");
    must(write(fd, "written before", 14), "write");
    char *one = map(fd, 0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    char *two = map(fd, 0, PAGE, PROT_READ, MAP_SHARED);
    printf("mapped %.14s\n", one);
    memcpy(one, "stored", 6);
    printf("seen in the other %.14s\n", two);
    must(pread(fd, bytes, 14, 0), "pread");
    printf("read %s\n", bytes);
    must(pwrite(fd, "by write", 8, 0), "pwrite");
    printf("seen in both %.14s %.14s\n", one, two);
    printf("behind the end: zero %d, store %d; next page %d\n", one[100], touch(one + 200, 1), touch(one + PAGE, 0));
    must(ftruncate(fd, PAGE + 10), "ftruncate");
    printf("longer: next page %d\n", touch(one + PAGE, 1));
    struct stat stat;
    fstat(fd, &stat);
    printf("size %ld\n", (long)stat.st_size);
    char *private = map(fd, 0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    memcpy(private, "private", 7);
    must(pread(fd, bytes, 8, 0), "pread");
    printf("a private store leaves %.8s\n", bytes);
    if (fork() == 0) {
        memcpy(one, "the child", 9);
        int again = must(open("/tmp/shared.file", O_RDWR), "open");
        char *own = map(again, PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
        memcpy(own, "by itself", 9);
        _exit(0);
    }
    wait(NULL);
    printf("from the child: %.9s, %.9s, still %.7s\n", two, one + PAGE, private);
    printf("msync %ld %ld %ld\n", said(msync(one, PAGE, MS_SYNC)), said(msync(one, PAGE, MS_SYNC | MS_ASYNC)), said(msync(one + 1, 1, MS_SYNC)));
    char *moved = mremap(one, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE);
    printf("moved %.9s, beyond %d\n", moved, touch(moved + 3 * PAGE, 0));
    memcpy(moved, "once more", 9);
    printf("the same %.9s\n", two);
    munmap(moved, 4 * PAGE);
    munmap(private, PAGE);
    close(fd);
    fd = must(open("/tmp/shared.file", O_RDONLY), "open");
    printf("read only: map for stores %ld", said(mmap(NULL, PAGE, PROT_WRITE | PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0));
    printf(", allow them later %ld", said(mprotect(two, PAGE, PROT_READ)));
    char *other = map(fd, 0, PAGE, PROT_READ, MAP_SHARED);
    printf(" %ld", said(mprotect(other, PAGE, PROT_READ | PROT_WRITE)));
    char *copy = map(fd, 0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    printf(", a copy %d\n", touch(copy, 1));
    unlink("/tmp/shared.file");
    printf("unlinked, still %.9s\n", two);
    close(fd);
    int readable = open("/proc/self/exe", O_RDONLY);
    char *self = map(readable, 0, PAGE, PROT_READ, MAP_SHARED);
    printf("the program itself: %.3s\n", self + 1);
}

struct meeting {
    sem_t semaphore;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int turn, sum;
};

// Two processes that map the same name, each by itself, and take turns.
static void processes(void)
{
    shm_unlink("/shared.meeting");
    int fd = must(shm_open("/shared.meeting", O_RDWR | O_CREAT | O_EXCL, 0600), "shm_open");
    printf("taken: %ld\n", said(shm_open("/shared.meeting", O_RDWR | O_CREAT | O_EXCL, 0600)));
    must(ftruncate(fd, sizeof(struct meeting)), "ftruncate");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        // Nobody has touched the page yet: it is the file that both have.
        int own = must(shm_open("/shared.meeting", O_RDWR, 0), "shm_open");
        struct meeting *meeting = (void *)map(own, 0, sizeof *meeting, PROT_READ | PROT_WRITE, MAP_SHARED);
        while (__atomic_load_n(&meeting->turn, __ATOMIC_ACQUIRE) == 0)
            usleep(1000);
        sem_wait(&meeting->semaphore);
        for (int n = 0; n < 200; n++) {
            pthread_mutex_lock(&meeting->mutex);
            while (meeting->turn != 2)
                pthread_cond_wait(&meeting->changed, &meeting->mutex);
            meeting->sum = meeting->sum * 3 + 1;
            meeting->turn = 1;
            pthread_cond_signal(&meeting->changed);
            pthread_mutex_unlock(&meeting->mutex);
        }
        _exit(0);
    }
    struct meeting *meeting = (void *)map(fd, 0, sizeof *meeting, PROT_READ | PROT_WRITE, MAP_SHARED);
    sem_init(&meeting->semaphore, 1, 0);
    pthread_mutexattr_t mutex;
    pthread_mutexattr_init(&mutex);
    pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&meeting->mutex, &mutex);
    pthread_condattr_t condition;
    pthread_condattr_init(&condition);
    pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED);
    pthread_cond_init(&meeting->changed, &condition);
    __atomic_store_n(&meeting->turn, 1, __ATOMIC_RELEASE);
    usleep(20000);
    sem_post(&meeting->semaphore);
    int sum = 0;
    for (int n = 0; n < 200; n++) {
        pthread_mutex_lock(&meeting->mutex);
        while (meeting->turn != 1)
            pthread_cond_wait(&meeting->changed, &meeting->mutex);
        sum = sum * 3 + 1;
        meeting->turn = 2;
        pthread_cond_signal(&meeting->changed);
        pthread_mutex_unlock(&meeting->mutex);
    }
    int status;
    waitpid(child, &status, 0);
    printf("two processes, status %d, the same sum %d\n", status, sum == meeting->sum);
    shm_unlink("/shared.meeting");
    printf("unlinked: %ld\n", said(shm_open("/shared.meeting", O_RDWR, 0)));
    sem_t *named = sem_open("/shared.sem", O_CREAT, 0600, 1);
    printf("named semaphore %d %d\n", named != SEM_FAILED, sem_trywait(named));
    sem_close(named);
    sem_unlink("/shared.sem");
}

static void in_memory(void)
{
    int fd = must(syscall(SYS_memfd_create, "thing", 3), "memfd_create");
    char link[50], path[100] = {0};
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    must(readlink(link, path, sizeof path - 1), "readlink");
    printf("called %s, closed by exec %d\n", path, fcntl(fd, F_GETFD));
    must(ftruncate(fd, 2 * PAGE), "ftruncate");
    char *at = map(fd, 0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    memcpy(at, "in memory", 9);
    char bytes[10] = {0};
    must(read(fd, bytes, 9), "read");
    printf("read %s, seals %ld\n", bytes, said(fcntl(fd, F_GET_SEALS)));
    printf("seal the length %ld", said(fcntl(fd, F_ADD_SEALS, 2 | 4)));
    printf(": shrink %ld, grow %ld", said(ftruncate(fd, PAGE)), said(ftruncate(fd, 3 * PAGE)));
    printf(", write behind it %ld", said(pwrite(fd, "x", 1, 2 * PAGE)));
    printf(", in it %ld\n", said(pwrite(fd, "x", 1, 0)));
    munmap(at, PAGE);
    printf("seal all %ld", said(fcntl(fd, F_ADD_SEALS, 8 | 1)));
    printf(": write %ld", said(pwrite(fd, "x", 1, 0)));
    printf(", map %ld", said(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0));
    printf(", read %d", map(fd, 0, PAGE, PROT_READ, MAP_SHARED) != NULL);
    printf(", more seals %ld, seals %ld\n", said(fcntl(fd, F_ADD_SEALS, 2)), said(fcntl(fd, F_GET_SEALS)));
    close(fd);
    fd = must(syscall(SYS_memfd_create, "", 0), "memfd_create");
    printf("not to be sealed %ld: %ld\n", said(fcntl(fd, F_GET_SEALS)), said(fcntl(fd, F_ADD_SEALS, 4)));
    close(fd);
    printf("bad flags %ld\n", said(syscall(SYS_memfd_create, "", 0x1000)));
    fd = must(open("/tmp", O_TMPFILE | O_RDWR, 0600), "tmpfile");
    struct stat stat;
    fstat(fd, &stat);
    printf("temporary, links %d, write %ld\n", (int)stat.st_nlink, said(write(fd, "abc", 3)));
    close(fd);
}

static long lock(int fd, int command, int type, long start, long len)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
    return said(fcntl(fd, command, &lock));
}

// In a child: what fcntl says about a lock, as a number of its own.
static void child_says(const char *what, int fd, int command, int type, long start, long len)
{
    fflush(stdout);
    if (fork() == 0) {
        printf("%s: %ld\n", what, lock(fd, command, type, start, len));
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
}

static void locks(void)
{
    unlink("/tmp/shared.lock");
    int one = must(open("/tmp/shared.lock", O_RDWR | O_CREAT, 0600), "open");
    int two = must(open("/tmp/shared.lock", O_RDWR), "open");
    printf("flock %ld", said(flock(one, LOCK_SH)));
    printf(" %ld", said(flock(two, LOCK_SH | LOCK_NB)));
    printf(" %ld", said(flock(two, LOCK_EX | LOCK_NB)));
    flock(one, LOCK_UN);
    printf(" %ld", said(flock(two, LOCK_EX | LOCK_NB)));
    printf(" %ld", said(flock(one, LOCK_SH | LOCK_NB)));
    int same = dup(two);
    close(two);
    printf(", kept by a duplicate %ld", said(flock(one, LOCK_SH | LOCK_NB)));
    close(same);
    printf(", gone with the last %ld\n", said(flock(one, LOCK_SH | LOCK_NB)));
    printf("bad operation %ld, bad file %ld\n", said(flock(one, 16)), said(flock(-1, LOCK_SH)));

    printf("range %ld", lock(one, F_SETLK, F_WRLCK, 10, 10));
    printf(", again %ld\n", lock(one, F_SETLK, F_WRLCK, 15, 10));
    child_says("a child, before it", one, F_SETLK, F_WRLCK, 0, 10);
    child_says("a child, in it", one, F_SETLK, F_WRLCK, 12, 1);
    child_says("a child, in it, to read", one, F_SETLK, F_RDLCK, 24, 100);
    lock(one, F_SETLK, F_UNLCK, 14, 2);
    child_says("a child, in the hole", one, F_SETLK, F_WRLCK, 14, 2);
    child_says("a child, beyond the hole", one, F_SETLK, F_WRLCK, 14, 3);
    fflush(stdout);
    if (fork() == 0) {
        struct flock asked = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0};
        fcntl(one, F_GETLK, &asked);
        printf("in the way: %d, from %ld, %ld bytes, the parent's %d\n", asked.l_type == F_WRLCK, (long)asked.l_start,
               (long)asked.l_len, asked.l_pid == getppid());
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
    close(must(open("/tmp/shared.lock", O_RDONLY), "open"));
    child_says("closed another descriptor", one, F_SETLK, F_WRLCK, 12, 1);

    // Two that wait for each other: one of them is told.
    int pipe_fds[2];
    char byte;
    must(pipe(pipe_fds), "pipe");
    lock(one, F_SETLK, F_WRLCK, 0, 1);
    pid_t child = fork();
    if (child == 0) {
        lock(one, F_SETLK, F_WRLCK, 1, 1);
        must(write(pipe_fds[1], "x", 1), "write");
        // Waits for the parent, and gets it in the end.
        long result = lock(one, F_SETLKW, F_WRLCK, 0, 1);
        _exit(result == 0 ? 0 : 1);
    }
    must(read(pipe_fds[0], &byte, 1), "read");
    usleep(50000);
    printf("deadlock %ld\n", lock(one, F_SETLKW, F_WRLCK, 1, 1));
    lock(one, F_SETLK, F_UNLCK, 0, 1);
    int status;
    waitpid(child, &status, 0);
    printf("the child waited: %d\n", status);

    two = must(open("/tmp/shared.lock", O_RDWR), "open");
    printf("of descriptions %ld", lock(one, F_OFD_SETLK, F_WRLCK, 0, 0));
    printf(" %ld", lock(two, F_OFD_SETLK, F_RDLCK, 5, 1));
    lock(one, F_OFD_SETLK, F_UNLCK, 0, 0);
    printf(" %ld\n", lock(two, F_OFD_SETLK, F_RDLCK, 5, 1));
    int reader = must(open("/tmp/shared.lock", O_RDONLY), "open");
    printf("to write without: %ld\n", lock(reader, F_SETLK, F_WRLCK, 0, 1));
    unlink("/tmp/shared.lock");
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGBUS, jump);
    signal(SIGSEGV, jump);
    a_file();
    processes();
    in_memory();
    locks();
    printf("done\n");
    return 0;
}
