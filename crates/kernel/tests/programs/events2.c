// What stands for signals, processes and moments: signalfd, pidfd, timer_create; and what goes from file to file. Each line is a
// fact about Linux, printed here and on the host.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long said(long result) { return result < 0 ? -errno : result; }

static int must(int fd, const char *what)
{
    if (fd < 0) {
        printf("failed: %s: %s\n", what, strerror(errno));
        exit(1);
    }
    return fd;
}

static int readable(int fd, int patience)
{
    struct pollfd entry = {fd, POLLIN, 0};
    return poll(&entry, 1, patience) == 1 ? entry.revents : 0;
}

static void *wait_for_one(void *fd)
{
    struct signalfd_siginfo info;
    ssize_t len = read(*(int *)fd, &info, sizeof info);
    return (void *)(len == sizeof info ? (long)info.ssi_signo : -1L);
}

static void signals(void)
{
    sigset_t set, other;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = must(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd");
    struct signalfd_siginfo info[3];
    printf("nothing yet: %ld, ready %d\n", said(read(fd, info, sizeof info)), readable(fd, 0));
    kill(getpid(), SIGUSR1);
    kill(getpid(), SIGUSR1);
    printf("ready %d, %ld bytes", readable(fd, 0), said(read(fd, info, sizeof info)));
    printf(", signal %d by kill %d, mine %d\n", info[0].ssi_signo, info[0].ssi_code == SI_USER, info[0].ssi_pid == (unsigned)getpid());
    union sigval value = {.sival_int = 5};
    sigqueue(getpid(), SIGRTMIN, value);
    value.sival_int = 6;
    sigqueue(getpid(), SIGRTMIN, value);
    printf("queued %ld bytes", said(read(fd, info, sizeof info)));
    printf(", %d then %d\n", info[0].ssi_int, info[1].ssi_int);
    pid_t child = fork();
    if (child == 0)
        _exit(3);
    printf("child's end: ready %d", readable(fd, 5000));
    must(read(fd, info, sizeof info), "read");
    printf(", signal %d, status %d, the child %d\n", info[0].ssi_signo, info[0].ssi_status, info[0].ssi_pid == (unsigned)child);
    waitpid(child, NULL, 0);
    int set_fd = must(epoll_create1(0), "epoll");
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u32 = 9};
    epoll_ctl(set_fd, EPOLL_CTL_ADD, fd, &event);
    printf("epoll %d", epoll_wait(set_fd, &event, 1, 0));
    kill(getpid(), SIGUSR1);
    printf(" %d", epoll_wait(set_fd, &event, 1, 1000));
    printf(" %d\n", epoll_wait(set_fd, &event, 1, 0));
    sigemptyset(&other);
    sigaddset(&other, SIGUSR2);
    printf("another mask %d", signalfd(fd, &other, 0) == fd);
    printf(", ready %d\n", readable(fd, 0));
    signalfd(fd, &set, 0);
    must(read(fd, info, sizeof info), "read");
    // A thread that sleeps in the read.
    int patient = must(signalfd(-1, &set, 0), "signalfd");
    pthread_t thread;
    pthread_create(&thread, NULL, wait_for_one, &patient);
    usleep(20000);
    kill(getpid(), SIGUSR1);
    void *result;
    pthread_join(thread, &result);
    printf("a sleeper got %ld\n", (long)result);
    printf("short buffer %ld, bad size %ld\n", said(read(fd, info, 100)), said(syscall(SYS_signalfd4, -1, &set, 4, 0)));
    close(patient);
    close(fd);
    close(set_fd);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void processes(void)
{
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    int fd = must(syscall(SYS_pidfd_open, child, 0), "pidfd_open");
    printf("pidfd closed by exec %d, ready %d\n", fcntl(fd, F_GETFD), readable(fd, 0));
    printf("exists %ld", said(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0)));
    printf(", killed %ld", said(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0)));
    printf(", ready %d\n", readable(fd, 5000));
    siginfo_t info;
    memset(&info, 0, sizeof info);
    printf("waitid %ld", said(waitid(3 /* P_PIDFD */, fd, &info, WEXITED)));
    printf(", the child %d, killed %d by %d\n", info.si_pid == child, info.si_code == CLD_KILLED, info.si_status);
    printf("gone: %ld", said(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0)));
    // Linux of late says that it is hung up, too.
    printf(", ready %d", readable(fd, 0) & POLLIN);
    printf(", again %ld\n", said(syscall(SYS_pidfd_open, child, 0)));
    printf("no process %ld, bad flags %ld\n", said(syscall(SYS_pidfd_open, -1, 0)), said(syscall(SYS_pidfd_open, getpid(), 1)));
    close(fd);
}

static volatile int rang, rang_value, rang_code;

static void ring(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    rang++;
    rang_value = info->si_value.sival_int;
    rang_code = info->si_code;
}

static void *in_a_thread;

static void called(union sigval value)
{
    __atomic_store_n(&in_a_thread, value.sival_ptr, __ATOMIC_RELEASE);
}

static void moments(void)
{
    struct sigaction action = {.sa_sigaction = ring, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR2, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2, .sigev_value.sival_int = 77};
    printf("create %ld\n", said(timer_create(CLOCK_MONOTONIC, &event, &timer)));
    struct itimerspec setting = {.it_value = {0, 20000000}}, left;
    printf("set %ld", said(timer_settime(timer, 0, &setting, &left)));
    printf(", before %ld\n", (long)left.it_value.tv_nsec);
    timer_gettime(timer, &left);
    printf("on %d\n", left.it_value.tv_nsec > 0 && left.it_value.tv_nsec <= 20000000);
    for (int n = 0; rang == 0 && n < 500; n++)
        usleep(10000);
    timer_gettime(timer, &left);
    printf("rang %d with %d, by a timer %d, off %d\n", rang, rang_value, rang_code == SI_TIMER, left.it_value.tv_nsec == 0);
    // Again and again, while the signal is blocked: one signal, and a count.
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    rang = 0;
    setting = (struct itimerspec){.it_value = {0, 5000000}, .it_interval = {0, 5000000}};
    timer_settime(timer, 0, &setting, NULL);
    usleep(100000);
    setting = (struct itimerspec){0};
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    int once = rang;
    printf("blocked meanwhile: rang at once %d\n", once >= 1);
    timer_settime(timer, 0, &setting, NULL);
    printf("delete %ld\n", said(timer_delete(timer)));
    // By the time of day, in the past.
    rang = 0;
    timer_create(CLOCK_REALTIME, NULL, &timer);
    setting = (struct itimerspec){.it_value = {1, 0}};
    timer_settime(timer, TIMER_ABSTIME, &setting, NULL);
    for (int n = 0; rang == 0 && n < 500; n++)
        usleep(10000);
    printf("past: rang %d\n", rang);
    timer_delete(timer);
    // In a thread of the C library's.
    event = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = called, .sigev_value.sival_ptr = &timer};
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    setting = (struct itimerspec){.it_value = {0, 1000000}};
    timer_settime(timer, 0, &setting, NULL);
    for (int n = 0; __atomic_load_n(&in_a_thread, __ATOMIC_ACQUIRE) == NULL && n < 500; n++)
        usleep(10000);
    printf("in a thread %d\n", in_a_thread == &timer);
    timer_delete(timer);
    event = (struct sigevent){.sigev_notify = SIGEV_SIGNAL, .sigev_signo = 99};
    printf("bad signal %ld, bad clock %ld\n", said(timer_create(CLOCK_MONOTONIC, &event, &timer)), said(timer_create(99, NULL, &timer)));
}

static void transfers(void)
{
    unlink("/tmp/events2.from");
    unlink("/tmp/events2.to");
    int from = must(open("/tmp/events2.from", O_RDWR | O_CREAT, 0600), "open");
    int to = must(open("/tmp/events2.to", O_RDWR | O_CREAT, 0600), "open");
    must(write(from, "0123456789", 10), "write");
    loff_t start = 2, end = 5;
    printf("copy_file_range %ld", said(syscall(SYS_copy_file_range, from, &start, to, &end, 4, 0)));
    printf(", then at %ld and %ld", (long)start, (long)end);
    printf(", at the end %ld", said(syscall(SYS_copy_file_range, from, NULL, to, NULL, 4, 0)));
    printf(", over itself %ld\n", said(syscall(SYS_copy_file_range, from, &(loff_t){0}, from, &(loff_t){3}, 5, 0)));
    char bytes[20] = {0};
    printf("%ld bytes", said(pread(to, bytes, 20, 0)));
    printf(", zeros first %d, then %s\n", bytes[0] == 0 && bytes[4] == 0, bytes + 5);
    int pipe_fds[2];
    must(pipe(pipe_fds), "pipe");
    start = 3;
    printf("splice in %ld", said(splice(from, &start, pipe_fds[1], NULL, 5, 0)));
    printf(", out %ld", said(splice(pipe_fds[0], NULL, to, NULL, 100, 0)));
    printf(", without a pipe %ld", said(splice(from, NULL, to, NULL, 1, 0)));
    printf(", at an offset of a pipe %ld\n", said(splice(pipe_fds[0], &start, to, NULL, 1, 0)));
    memset(bytes, 0, sizeof bytes);
    must(pread(to, bytes, 5, 0), "pread");
    printf("%s\n", bytes);
    printf("random %ld %ld %ld\n", said(getrandom(bytes, 10, GRND_NONBLOCK)), said(getrandom(bytes, 10, 0x100)), said(getrandom(NULL, 0, 0)));
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    signals();
    processes();
    moments();
    transfers();
    printf("done\n");
    return 0;
}
