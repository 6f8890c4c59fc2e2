// Descriptors that stand for events: epoll, what it watches, and timers. Each line is a fact about Linux: what is printed on the
// host has to be printed on the reference kernel.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

static void fact(const char *name, long value) { printf("%s: %ld\n", name, value); }

static long result(long value) { return value < 0 ? -errno : value; }

static int add(int set, int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    return result(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
}

// What is ready now, as the sum of the bits, and how many files are.
static void ready(const char *name, int set) {
    struct epoll_event events[8];
    int count = epoll_wait(set, events, 8, 0);
    unsigned bits = 0;
    for (int n = 0; n < count; n++)
        bits |= events[n].events;
    printf("%s: %d ready, %#x\n", name, count, bits);
}

static void levels_and_edges(void) {
    int set = epoll_create1(EPOLL_CLOEXEC), pipes[2];
    char buffer[16];
    fact("close on exec", fcntl(set, F_GETFD));
    fact("pipe", pipe(pipes));
    fact("add", add(set, pipes[0], EPOLLIN));
    fact("add again", add(set, pipes[0], EPOLLIN));
    ready("empty", set);
    fact("write", write(pipes[1], "ab", 2));
    ready("level", set);
    ready("level, again", set);
    struct epoll_event edge = {.events = EPOLLIN | EPOLLET};
    fact("modify", result(epoll_ctl(set, EPOLL_CTL_MOD, pipes[0], &edge)));
    ready("edge", set);
    ready("edge, again", set);
    fact("more", write(pipes[1], "c", 1));
    ready("edge, more", set);
    fact("read one", read(pipes[0], buffer, 1));
    ready("edge, some left", set);
    fact("read all", read(pipes[0], buffer, sizeof buffer));
    fact("write", write(pipes[1], "d", 1));
    ready("edge, new", set);
    struct epoll_event once = {.events = EPOLLIN | EPOLLONESHOT};
    fact("one shot", result(epoll_ctl(set, EPOLL_CTL_MOD, pipes[0], &once)));
    ready("once", set);
    ready("once, again", set);
    fact("rearmed", result(epoll_ctl(set, EPOLL_CTL_MOD, pipes[0], &once)));
    ready("rearmed", set);
    fact("rearmed", result(epoll_ctl(set, EPOLL_CTL_MOD, pipes[0], &once)));
    fact("close", close(pipes[1]));
    ready("hang-up", set);
    fact("delete", result(epoll_ctl(set, EPOLL_CTL_DEL, pipes[0], NULL)));
    fact("delete again", result(epoll_ctl(set, EPOLL_CTL_DEL, pipes[0], NULL)));
    close(pipes[0]);
    close(set);
}

static void many_kinds(void) {
    int set = epoll_create(1), sockets[2], counter = eventfd(1, EFD_NONBLOCK);
    fact("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
    fact("add socket", add(set, sockets[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP));
    ready("writable", set);
    fact("add counter", add(set, counter, EPOLLIN | EPOLLET));
    ready("both", set);
    fact("close peer", close(sockets[1]));
    ready("peer gone", set);
    fact("close", close(sockets[0]));
    ready("closed", set);
    // A description stays watched while another descriptor refers to it.
    int other = dup(counter);
    fact("add", add(set, other, EPOLLIN));
    fact("close", close(other));
    ready("closed, and open elsewhere", set);
    close(counter);
    ready("closed everywhere", set);
    close(set);
}

static void errors(void) {
    int set = epoll_create1(0), outer = epoll_create1(0), counter = eventfd(0, 0);
    struct epoll_event event = {.events = EPOLLIN};
    int file = open("/proc/self/exe", O_RDONLY);
    fact("size", result(epoll_create(0)));
    fact("flags", result(epoll_create1(1)));
    fact("regular file", add(set, file, EPOLLIN));
    fact("itself", add(set, set, EPOLLIN));
    fact("no descriptor", add(set, 999, EPOLLIN));
    fact("no set", result(epoll_ctl(counter, EPOLL_CTL_ADD, set, &event)));
    fact("no event", result(epoll_ctl(set, EPOLL_CTL_ADD, counter, NULL)));
    fact("no operation", result(epoll_ctl(set, 9, counter, &event)));
    fact("modify unknown", result(epoll_ctl(set, EPOLL_CTL_MOD, counter, &event)));
    fact("wait for none", result(epoll_wait(set, &event, 0, 0)));
    fact("wait, no set", result(epoll_wait(counter, &event, 1, 0)));
    fact("set in set", add(outer, set, EPOLLIN));
    fact("circle", add(set, outer, EPOLLIN));
    fact("add counter", add(set, counter, EPOLLIN));
    uint64_t one = 1;
    fact("write", write(counter, &one, sizeof one));
    ready("outer", outer);
    close(file), close(counter), close(set), close(outer);
}

static int late_set, late_pipe[2];

static void *add_late(void *nothing) {
    usleep(50000);
    add(late_set, late_pipe[0], EPOLLIN);
    usleep(50000);
    fact("late write", write(late_pipe[1], "x", 1));
    return nothing;
}

static volatile int handled;
static void handler(int signal) { handled = signal; }

static void waits(void) {
    struct epoll_event event;
    late_set = epoll_create1(0);
    fact("timeout", epoll_wait(late_set, &event, 1, 20));
    fact("pipe", pipe(late_pipe));
    pthread_t thread;
    pthread_create(&thread, NULL, add_late, NULL);
    // Added while somebody waits.
    fact("added meanwhile", epoll_wait(late_set, &event, 1, 5000));
    pthread_join(thread, NULL);
    char byte;
    fact("read", read(late_pipe[0], &byte, 1));

    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    sigset_t blocked, none;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    kill(getpid(), SIGUSR1);
    fact("blocked", epoll_wait(late_set, &event, 1, 10));
    fact("handled", handled);
    fact("unblocked for the wait", result(epoll_pwait(late_set, &event, 1, 5000, &none)));
    fact("handled", handled);
    sigprocmask(SIG_BLOCK, NULL, &none);
    fact("blocked again", sigismember(&none, SIGUSR1));

    pid_t child = fork();
    if (child == 0) {
        usleep(30000);
        _exit(write(late_pipe[1], "y", 1) == 1 ? 0 : 1);
    }
    fact("from a child", epoll_wait(late_set, &event, 1, 5000));
    int status;
    fact("waited", waitpid(child, &status, 0) == child && status == 0);
}

static void timers(void) {
    uint64_t count = 0;
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), set = epoll_create1(0);
    struct itimerspec soon = {.it_value.tv_nsec = 400000000}, off = {0}, left;
    fact("clock", result(timerfd_create(99, 0)));
    fact("flags", result(timerfd_create(CLOCK_MONOTONIC, 1)));
    fact("off", result(read(timer, &count, sizeof count)));
    fact("short", result(read(timer, &count, 4)));
    fact("set", result(timerfd_settime(timer, 0, &soon, &left)));
    fact("was off", left.it_value.tv_sec + left.it_value.tv_nsec);
    fact("get", result(timerfd_gettime(timer, &left)));
    fact("is on", left.it_value.tv_nsec > 0);
    fact("add", add(set, timer, EPOLLIN));
    struct epoll_event event;
    fact("expired", epoll_wait(set, &event, 1, 5000));
    fact("read", read(timer, &count, sizeof count));
    fact("count", count);
    fact("read again", result(read(timer, &count, sizeof count)));
    struct itimerspec often = {.it_interval.tv_nsec = 10000000, .it_value.tv_nsec = 10000000};
    fact("set", result(timerfd_settime(timer, 0, &often, NULL)));
    usleep(100000);
    fact("read", read(timer, &count, sizeof count));
    fact("several", count >= 5);
    fact("off", result(timerfd_settime(timer, 0, &off, NULL)));
    fact("is off", result(read(timer, &count, sizeof count)));
    struct timespec now;
    int absolute = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC);
    clock_gettime(CLOCK_REALTIME, &now);
    struct itimerspec past = {.it_value.tv_sec = now.tv_sec - 1, .it_value.tv_nsec = 1};
    fact("past", result(timerfd_settime(absolute, TFD_TIMER_ABSTIME, &past, NULL)));
    // Waits for what is due already.
    fact("read", read(absolute, &count, sizeof count));
    fact("count", count);
    fact("write", result(write(absolute, &count, sizeof count)));
    fact("no timer", result(timerfd_gettime(set, &left)));
    close(timer), close(set), close(absolute);
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    levels_and_edges();
    many_kinds();
    errors();
    waits();
    timers();
    return 0;
}
