// Sockets: each line is a fact about Linux, printed here and on the host.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

// An address that nobody has, in a way that the compiler does not warn of.
static void *volatile nowhere = (void *)8;

// The result of a call: its value, or its error as a negative number.
static const char *said(long result)
{
    static char text[8][40];
    static int next;
    char *to = text[next++ % 8];
    snprintf(to, sizeof text[0], "%ld", result < 0 ? -errno : result);
    return to;
}

static int must(int fd, const char *what)
{
    if (fd < 0) {
        printf("failed: %s: %s\n", what, strerror(errno));
        exit(1);
    }
    return fd;
}

static unsigned ready(int fd)
{
    struct pollfd entry = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
    poll(&entry, 1, 0);
    return entry.revents;
}

static struct sockaddr_un path(const char *name, socklen_t *len)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    // '@' stands for the NUL of a name that is in no file system.
    strcpy(address.sun_path, name);
    *len = offsetof(struct sockaddr_un, sun_path) + strlen(name) + (name[0] != '@');
    if (name[0] == '@')
        address.sun_path[0] = 0;
    return address;
}

static struct sockaddr_in inet(const char *ip, int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, ip, &address.sin_addr);
    return address;
}

static void pairs(int type, const char *name)
{
    int fds[2];
    char buffer[100];
    must(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds), name);
    struct stat stat;
    fstat(fds[0], &stat);
    printf("%s: a socket %d, closed by exec %d\n", name, S_ISSOCK(stat.st_mode), fcntl(fds[0], F_GETFD));
    printf("%s: ready for %x\n", name, ready(fds[0]));
    struct iovec both[2] = {{"ab", 2}, {"cde", 3}};
    printf("%s: writev %s\n", name, said(writev(fds[0], both, 2)));
    printf("%s: write %s\n", name, said(write(fds[0], "fg", 2)));
    int waiting = 0;
    ioctl(fds[1], FIONREAD, &waiting);
    printf("%s: waiting %d\n", name, waiting);
    printf("%s: peek %s\n", name, said(recv(fds[1], buffer, 3, MSG_PEEK)));
    printf("%s: trunc %s\n", name, said(recv(fds[1], buffer, 3, MSG_PEEK | MSG_TRUNC)));
    printf("%s: read %s\n", name, said(read(fds[1], buffer, 3)));
    printf("%s: read %s\n", name, said(read(fds[1], buffer, sizeof buffer)));
    printf("%s: read %s\n", name, said(recv(fds[1], buffer, sizeof buffer, MSG_DONTWAIT)));
    printf("%s: nobody %s\n", name, said(recv(fds[1], buffer, 1, MSG_OOB | MSG_DONTWAIT) < 0 ? 0 : 1));
    int kind = 0, error = -1;
    socklen_t size = sizeof kind;
    getsockopt(fds[0], SOL_SOCKET, SO_TYPE, &kind, &size);
    getsockopt(fds[0], SOL_SOCKET, SO_ERROR, &error, &size);
    struct ucred peer;
    size = sizeof peer;
    getsockopt(fds[0], SOL_SOCKET, SO_PEERCRED, &peer, &size);
    printf("%s: type %d, error %d, peer is me %d\n", name, kind == type, error, peer.pid == getpid());
    struct sockaddr_un address;
    size = sizeof address;
    getsockname(fds[0], (struct sockaddr *)&address, &size);
    printf("%s: name of %d bytes\n", name, (int)size);
    close(fds[1]);
    printf("%s: alone, ready for %x\n", name, ready(fds[0]));
    printf("%s: alone, send %s\n", name, said(send(fds[0], "x", 1, MSG_NOSIGNAL)));
    printf("%s: alone, read %s\n", name, said(recv(fds[0], buffer, 1, MSG_DONTWAIT)));
    close(fds[0]);
}

static volatile int pipes;

static void count_pipe(int signal)
{
    (void)signal;
    pipes++;
}

static void broken(void)
{
    int fds[2];
    signal(SIGPIPE, count_pipe);
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), "pair");
    close(fds[1]);
    printf("write to nobody: %s", said(write(fds[0], "x", 1)));
    printf(", signals %d", pipes);
    printf("; with MSG_NOSIGNAL: %s", said(send(fds[0], "x", 1, MSG_NOSIGNAL)));
    printf(", signals %d\n", pipes);
    close(fds[0]);
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), "pair");
    must(write(fds[0], "unread", 6), "write");
    close(fds[1]);
    char byte;
    printf("closed with bytes unread: %s", said(read(fds[0], &byte, 1)));
    printf(", then %s\n", said(read(fds[0], &byte, 1)));
    close(fds[0]);
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), "pair");
    shutdown(fds[0], SHUT_WR);
    printf("half closed: %x %x", ready(fds[0]), ready(fds[1]));
    printf(", read %s", said(read(fds[1], &byte, 1)));
    printf(", other way %s", said(write(fds[1], "y", 1)));
    printf(" %s\n", said(read(fds[0], &byte, 1)));
    shutdown(fds[0], SHUT_RD);
    printf("nobody reads: %s\n", said(send(fds[1], "y", 1, MSG_NOSIGNAL)));
    close(fds[0]);
    close(fds[1]);
}

static void *serve(void *listener)
{
    for (;;) {
        int fd = accept4(*(int *)listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            return NULL;
        char buffer[1000];
        ssize_t len;
        while ((len = read(fd, buffer, sizeof buffer)) > 0) {
            if (len == 4 && memcmp(buffer, "quit", 4) == 0) {
                close(fd);
                return NULL;
            }
            must(write(fd, buffer, len), "echo");
        }
        close(fd);
    }
}

// A server in a thread; clients that send and get back what they have sent.
static void echo(const char *what, int domain, void *address, socklen_t len)
{
    int listener = must(socket(domain, SOCK_STREAM, 0), "socket");
    printf("%s: listen unbound %s\n", what, domain == AF_UNIX ? said(listen(listener, 5)) : "-");
    must(bind(listener, address, len), "bind");
    struct sockaddr_storage bound;
    socklen_t bound_len = sizeof bound;
    getsockname(listener, (void *)&bound, &bound_len);
    printf("%s: name of %d bytes\n", what, (int)bound_len);
    int early = must(socket(domain, SOCK_STREAM, 0), "socket");
    printf("%s: nobody listens: %s\n", what, said(connect(early, (void *)&bound, bound_len)));
    must(listen(listener, 5), "listen");
    int other = must(socket(domain, SOCK_STREAM, 0), "socket");
    printf("%s: bind again %s\n", what, said(bind(other, (void *)&bound, bound_len)));
    printf("%s: listener ready for %x\n", what, ready(listener));
    pthread_t thread;
    pthread_create(&thread, NULL, serve, &listener);
    for (int n = 0; n < 3; n++) {
        int fd = must(socket(domain, SOCK_STREAM, 0), "socket");
        must(connect(fd, (void *)&bound, bound_len), "connect");
        char buffer[6000], back[6000];
        memset(buffer, 'a' + n, sizeof buffer);
        must(send(fd, buffer, sizeof buffer, 0), "send");
        ssize_t got = recv(fd, back, sizeof back, MSG_WAITALL);
        printf("%s: %d bytes back, the same %d\n", what, (int)got, memcmp(buffer, back, sizeof back) == 0);
        printf("%s: connected again %s\n", what, said(connect(fd, (void *)&bound, bound_len)));
        shutdown(fd, SHUT_WR);
        printf("%s: the end %s\n", what, said(read(fd, back, sizeof back)));
        close(fd);
    }
    int fd = must(socket(domain, SOCK_STREAM, 0), "socket");
    must(connect(fd, (void *)&bound, bound_len), "connect");
    must(write(fd, "quit", 4), "quit");
    pthread_join(thread, NULL);
    char byte;
    printf("%s: server gone %s\n", what, said(read(fd, &byte, 1)));
    close(fd);
    close(listener);
    close(other);
    close(early);
}

static void many_bytes(int domain, int type)
{
    enum { TOTAL = 3000000 };
    int fds[2];
    must(socketpair(domain, type, 0, fds), "pair");
    pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        char buffer[7001];
        unsigned sum = 0;
        long total = 0;
        ssize_t len;
        while ((len = read(fds[1], buffer, sizeof buffer)) > 0) {
            for (int n = 0; n < len; n++)
                sum = sum * 31 + (unsigned char)buffer[n];
            total += len;
        }
        printf("received %ld, sum %u\n", total, sum);
        fflush(stdout);
        _exit(0);
    }
    close(fds[1]);
    static char buffer[TOTAL];
    for (int n = 0; n < TOTAL; n++)
        buffer[n] = n * 7 / 3;
    for (long done = 0; done < TOTAL;) {
        long part = type == SOCK_STREAM ? TOTAL - done : 6000;
        done += must(write(fds[0], buffer + done, part), "write");
    }
    close(fds[0]);
    waitpid(child, NULL, 0);
}

static void descriptors(void)
{
    int fds[2], pipe_fds[2];
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), "pair");
    must(pipe(pipe_fds), "pipe");
    int on = 1;
    must(setsockopt(fds[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on), "passcred");
    union {
        struct cmsghdr header;
        char bytes[200];
    } control = {0};
    struct iovec piece = {"x", 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control};
    message.msg_controllen = CMSG_SPACE(2 * sizeof(int));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(header), pipe_fds, 2 * sizeof(int));
    fflush(stdout);
    if (fork() == 0) {
        must(send(fds[0], "before", 6, 0), "send");
        must(sendmsg(fds[0], &message, 0), "sendmsg");
        must(send(fds[0], "behind", 6, 0), "send");
        _exit(0);
    }
    wait(NULL);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    for (int n = 0; n < 2; n++) {
        char bytes[50];
        struct iovec to = {bytes, sizeof bytes};
        memset(&control, 0, sizeof control);
        struct msghdr in = {.msg_iov = &to, .msg_iovlen = 1, .msg_control = &control};
        in.msg_controllen = sizeof control;
        ssize_t len = recvmsg(fds[1], &in, MSG_CMSG_CLOEXEC);
        printf("message of %d bytes, flags %x, control of %d:", (int)len, in.msg_flags, (int)in.msg_controllen);
        for (header = CMSG_FIRSTHDR(&in); header; header = CMSG_NXTHDR(&in, header)) {
            if (header->cmsg_type == SCM_RIGHTS) {
                int got[2];
                memcpy(got, CMSG_DATA(header), sizeof got);
                must(write(got[1], "through", 7), "write");
                printf(" rights, pipe %s, closed by exec %d", said(read(got[0], bytes, 50)), fcntl(got[0], F_GETFD));
                close(got[0]);
                close(got[1]);
            } else if (header->cmsg_type == SCM_CREDENTIALS) {
                struct ucred who;
                memcpy(&who, CMSG_DATA(header), sizeof who);
                printf(" credentials, a child's %d", who.pid != getpid() && who.pid > 0);
            }
        }
        printf("\n");
    }
    message.msg_controllen = 3;
    printf("short control: %s\n", said(sendmsg(fds[0], &message, 0)));
    close(fds[0]);
    close(fds[1]);
}

static void datagrams(void)
{
    socklen_t len;
    unlink("/tmp/sockets.log");
    struct sockaddr_un log = path("/tmp/sockets.log", &len);
    int server = must(socket(AF_UNIX, SOCK_DGRAM, 0), "socket");
    must(bind(server, (void *)&log, len), "bind");
    struct stat stat;
    lstat("/tmp/sockets.log", &stat);
    printf("the path is a socket %d; open %s\n", S_ISSOCK(stat.st_mode), said(open("/tmp/sockets.log", O_RDWR)));
    int client = must(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0), "socket");
    printf("send without a peer: %s\n", said(send(client, "x", 1, 0)));
    printf("sendto: %s\n", said(sendto(client, "first", 5, 0, (void *)&log, len)));
    must(connect(client, (void *)&log, len), "connect");
    int sent = 0;
    while (send(client, "more", 4, 0) == 4)
        sent++;
    printf("%d more until %s", sent, said(-1));
    printf("; ready for %x\n", ready(client));
    char buffer[10];
    struct sockaddr_un from;
    socklen_t from_len = sizeof from;
    printf("recvfrom %s", said(recvfrom(server, buffer, 10, 0, (void *)&from, &from_len)));
    printf(", a name of %d bytes\n", (int)from_len);
    printf("ready for %x\n", ready(client));
    unlink("/tmp/sockets.log");
    close(server);
    printf("server gone: %s", said(send(client, "x", 1, 0)));
    printf(" %s\n", said(send(client, "x", 1, 0)));
    printf("unlinked: %s\n", said(connect(client, (void *)&log, len)));
    close(client);
}

static void udp(void)
{
    struct sockaddr_in any = inet("127.0.0.1", 0), server_name, from;
    socklen_t len = sizeof server_name, from_len = sizeof from;
    int server = must(socket(AF_INET, SOCK_DGRAM, 0), "socket");
    must(bind(server, (void *)&any, sizeof any), "bind");
    getsockname(server, (void *)&server_name, &len);
    int client = must(socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP), "socket");
    printf("udp: unconnected send %s\n", said(send(client, "x", 1, 0)));
    printf("udp: sendto %s\n", said(sendto(client, "question", 8, 0, (void *)&server_name, len)));
    char buffer[20];
    printf("udp: recvfrom %s\n", said(recvfrom(server, buffer, 4, MSG_TRUNC, (void *)&from, &from_len)));
    printf("udp: from %s, a port %d\n", inet_ntoa(from.sin_addr), from.sin_port != 0);
    printf("udp: answer %s", said(sendto(server, "", 0, 0, (void *)&from, from_len)));
    printf(" %s\n", said(recv(client, buffer, 20, 0)));
    must(connect(client, (void *)&server_name, len), "connect");
    struct mmsghdr many[3] = {0};
    struct iovec pieces[3] = {{"one", 3}, {"two", 3}, {"three", 5}};
    for (int n = 0; n < 3; n++) {
        many[n].msg_hdr.msg_iov = &pieces[n];
        many[n].msg_hdr.msg_iovlen = 1;
    }
    printf("udp: sendmmsg %s, lengths %u %u\n", said(sendmmsg(client, many, 3, 0)), many[0].msg_len, many[2].msg_len);
    char in[4][10];
    struct mmsghdr got[4] = {0};
    struct iovec to[4];
    for (int n = 0; n < 4; n++) {
        to[n] = (struct iovec){in[n], 10};
        got[n].msg_hdr.msg_iov = &to[n];
        got[n].msg_hdr.msg_iovlen = 1;
    }
    printf("udp: recvmmsg %s, last %u\n", said(recvmmsg(server, got, 4, MSG_WAITFORONE, NULL)), got[2].msg_len);
    struct timeval soon = {0, 20000};
    setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
    printf("udp: nothing comes: %s\n", said(recv(server, buffer, 20, 0)));
    close(server);
    printf("udp: to nobody %s", said(send(client, "x", 1, 0)));
    printf(", then %s\n", said(recv(client, buffer, 20, 0)));
    struct sockaddr_in foreign = inet("127.0.0.1", 9);
    foreign.sin_family = AF_UNIX;
    printf("udp: wrong family %s\n", said(sendto(client, "x", 1, 0, (void *)&foreign, sizeof foreign)));
    close(client);
}

static void tcp(void)
{
    struct sockaddr_in any = inet("127.0.0.1", 0), name, peer;
    socklen_t len = sizeof name;
    int listener = must(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    must(bind(listener, (void *)&any, sizeof any), "bind");
    must(listen(listener, 5), "listen");
    getsockname(listener, (void *)&name, &len);
    printf("tcp: accept %s\n", said(accept(listener, NULL, NULL)));
    int set = must(epoll_create1(0), "epoll");
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = 7};
    epoll_ctl(set, EPOLL_CTL_ADD, listener, &event);
    printf("tcp: epoll %d\n", epoll_wait(set, &event, 1, 0));
    int client = must(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    printf("tcp: unconnected ready for %x, read %s\n", ready(client), said(read(client, &any, 1)));
    printf("tcp: connect %s\n", said(connect(client, (void *)&name, len)));
    struct pollfd writable = {client, POLLOUT, 0};
    int count = poll(&writable, 1, 1000);
    int error = -1;
    socklen_t size = sizeof error;
    getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &size);
    printf("tcp: poll %d %x, error %d\n", count, writable.revents, error);
    count = epoll_wait(set, &event, 1, 1000);
    printf("tcp: epoll %d for %d\n", count, event.data.u32);
    len = sizeof peer;
    int server = must(accept4(listener, (void *)&peer, &len, SOCK_NONBLOCK), "accept");
    struct sockaddr_in own;
    len = sizeof own;
    getsockname(client, (void *)&own, &len);
    printf("tcp: peer is the client %d, at %s\n", peer.sin_port == own.sin_port, inet_ntoa(peer.sin_addr));
    int on = 1, off = -1;
    size = sizeof off;
    printf("tcp: nodelay %s", said(setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on)));
    getsockopt(client, IPPROTO_TCP, TCP_NODELAY, &off, &size);
    printf(" %d, unknown %s\n", off, said(setsockopt(client, SOL_SOCKET, 7777, &on, sizeof on)));
    char buffer[10];
    printf("tcp: read %s\n", said(read(server, buffer, 10)));
    must(write(client, "hello", 5), "write");
    poll(&(struct pollfd){server, POLLIN, 0}, 1, 1000);
    printf("tcp: read %s\n", said(read(server, buffer, 10)));
    close(client);
    poll(&(struct pollfd){server, POLLRDHUP, 0}, 1, 1000);
    printf("tcp: closed, ready for %x, read %s\n", ready(server), said(read(server, buffer, 10)));
    close(server);
    int refused = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
    name.sin_port = htons(1);
    printf("tcp: refused %s\n", said(connect(refused, (void *)&name, sizeof name)));
    struct sockaddr_in elsewhere = inet("192.0.2.1", 80);
    printf("tcp: bind elsewhere %s\n", said(bind(refused, (void *)&elsewhere, sizeof elsewhere)));
    printf("tcp: not a socket %s\n", said(listen(1, 5)));
    printf("tcp: short name %s\n", said(bind(refused, (void *)&name, 5)));
    printf("tcp: bad name %s\n", said(bind(refused, nowhere, sizeof name)));
    close(refused);
    close(listener);
    close(set);
}

static void waiting(void)
{
    int fds[2];
    must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), "pair");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        // Sleeps here until it is killed.
        _exit(read(fds[1], &byte, 1));
    }
    usleep(20000);
    kill(child, SIGKILL);
    int status;
    waitpid(child, &status, 0);
    printf("killed while it read: %d\n", WTERMSIG(status));
    close(fds[0]);
    close(fds[1]);
    // Bad memory.
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), "pair");
    printf("bad buffer: %s", said(write(fds[0], nowhere, 5)));
    must(write(fds[0], "kept", 4), "write");
    printf(" %s", said(read(fds[1], nowhere, 5)));
    char buffer[5];
    printf(" %s\n", said(read(fds[1], buffer, 5)));
    printf("bad message: %s %s\n", said(syscall(SYS_sendmsg, fds[0], nowhere, 0)),
           said(syscall(SYS_recvmsg, fds[0], nowhere, MSG_DONTWAIT)));
    printf("families: %s %s %s\n", said(socket(99, SOCK_STREAM, 0)), said(socket(AF_INET, 77, 0)),
           said(socketpair(AF_INET, SOCK_STREAM, 0, fds)));
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    pairs(SOCK_STREAM, "stream");
    pairs(SOCK_DGRAM, "datagram");
    pairs(SOCK_SEQPACKET, "packets");
    broken();
    socklen_t len;
    unlink("/tmp/sockets.echo");
    struct sockaddr_un local = path("/tmp/sockets.echo", &len);
    echo("path", AF_UNIX, &local, len);
    printf("the name stays: %s", said(access("/tmp/sockets.echo", F_OK)));
    printf(", and is taken: %s\n", said(bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&local, len)));
    unlink("/tmp/sockets.echo");
    local = path("@sockets.echo", &len);
    echo("hidden", AF_UNIX, &local, len);
    struct sockaddr_in four = inet("127.0.0.1", 0);
    echo("ipv4", AF_INET, &four, sizeof four);
    many_bytes(AF_UNIX, SOCK_STREAM);
    many_bytes(AF_UNIX, SOCK_SEQPACKET);
    descriptors();
    datagrams();
    udp();
    tcp();
    waiting();
    printf("done\n");
    return 0;
}
