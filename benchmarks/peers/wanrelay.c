// An emulated wide-area network in user space: one TUN device in each of up to 8 named network namespaces (10.9.0.1,
// 10.9.0.2, ...), and between each two of them, in each direction, a link of its own: a packet waits until those before
// it are sent at RATE, and then half the round trip. Needs root, but no sch_netem, which many kernels lack.
//
// usage: wanrelay RTT_MS MBIT NAMESPACE...      says "ready" when packets can flow; ends with its parent or by SIGTERM
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MAX_ENDS = 8, QUEUE = 8192, MTU = 1600, BURST = 64 };

struct packet {
    double due;
    int length;
    unsigned char bytes[MTU];
};

// A ring of packets in the order in which they arrive; what does not fit is dropped, as routers do.
struct link {
    struct packet *queue;
    unsigned head, count;
    double free_at;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

// Makes the device of one end; returns its descriptor.
static int device(const char *name, int number) {
    char text[256];
    snprintf(text, sizeof text, "/var/run/netns/%s", name);
    int space = open(text, O_RDONLY);
    if (space < 0 || setns(space, CLONE_NEWNET)) {
        perror(text);
        exit(1);
    }
    close(space);
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    struct ifreq request;
    memset(&request, 0, sizeof request);
    strcpy(request.ifr_name, "tun0");
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request)) {
        perror("/dev/net/tun");
        exit(1);
    }
    snprintf(text, sizeof text,
             "ip addr add 10.9.0.%d/24 dev tun0 && ip link set tun0 mtu 1500 txqueuelen 4000 up && ip link set lo up",
             number + 1);
    if (system(text)) exit(1);
    return fd;
}

int main(int argc, char **argv) {
    if (argc < 5 || argc > 3 + MAX_ENDS) {
        fprintf(stderr, "usage: wanrelay RTT_MS MBIT NAMESPACE...\n");
        return 2;
    }
    double one_way = atof(argv[1]) / 2e3, bytes_per_second = atof(argv[2]) * 1e6 / 8;
    int ends = argc - 3, fds[MAX_ENDS], home = open("/proc/self/ns/net", O_RDONLY);
    static struct link links[MAX_ENDS][MAX_ENDS];
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    // A relay that waits for a processor would be a slower network.
    setpriority(PRIO_PROCESS, 0, -20);
    prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);
    for (int i = 0; i < ends; i++) fds[i] = device(argv[3 + i], i);
    setns(home, CLONE_NEWNET);
    for (int i = 0; i < ends; i++)
        for (int j = 0; j < ends; j++)
            if (!(links[i][j].queue = malloc(sizeof(struct packet) * QUEUE))) return 1;
    puts("ready");
    fflush(stdout);
    struct pollfd polled[MAX_ENDS];
    for (;;) {
        double time = now(), next = 1e18;
        for (int i = 0; i < ends; i++)
            for (int j = 0; j < ends; j++) {
                struct link *l = &links[i][j];
                while (l->count && l->queue[l->head].due <= time) {
                    struct packet *p = &l->queue[l->head];
                    if (write(fds[j], p->bytes, p->length) < 0) { /* the end is overloaded: lost */
                    }
                    l->head = (l->head + 1) % QUEUE;
                    l->count--;
                }
                if (l->count && l->queue[l->head].due < next) next = l->queue[l->head].due;
            }
        for (int i = 0; i < ends; i++) {
            polled[i].fd = fds[i];
            polled[i].events = POLLIN;
        }
        struct timespec wait = {3600, 0};
        if (next < 1e17) {
            double left = next - now();
            if (left < 0) left = 0;
            wait.tv_sec = (long)left;
            wait.tv_nsec = (long)((left - (long)left) * 1e9);
        }
        ppoll(polled, ends, &wait, 0);
        time = now();
        for (int i = 0; i < ends; i++) {
            if (!(polled[i].revents & POLLIN)) continue;
            for (int k = 0; k < BURST; k++) {
                unsigned char bytes[MTU];
                int length = read(fds[i], bytes, MTU);
                if (length <= 0) break;
                if (length < 20 || (bytes[0] >> 4) != 4) continue;
                int j = bytes[19] - 1;
                if (bytes[16] != 10 || bytes[17] != 9 || bytes[18] != 0 || j < 0 || j >= ends || j == i) continue;
                struct link *l = &links[i][j];
                if (l->count == QUEUE) continue;
                struct packet *p = &l->queue[(l->head + l->count) % QUEUE];
                double start = l->free_at > time ? l->free_at : time;
                l->free_at = start + length / bytes_per_second;
                p->due = l->free_at + one_way;
                p->length = length;
                memcpy(p->bytes, bytes, length);
                l->count++;
            }
        }
    }
}
