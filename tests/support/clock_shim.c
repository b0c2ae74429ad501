/* Preloaded into a process, moves its wall clock: real time + the milliseconds in $CLOCK_SHIFT_FILE.
   The file is read at most every 20 ms by the monotonic clock, which stays as it is.
   Build: cc -shared -fPIC -O1 -o clock_shim.so clock_shim.c -ldl */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef int (*clock_fn)(clockid_t, struct timespec *);

static int real_clock(clockid_t clock, struct timespec *now) {
    static clock_fn real;
    if (!real) real = (clock_fn)dlsym(RTLD_NEXT, "clock_gettime");
    return real(clock, now);
}

/* A thread has its own copy, so that no thread waits for another or reads half a number.
   No stdio: fopen allocates, and an allocator may ask for the time. */
static long long shift_ms(void) {
    static __thread long long read_at_ms = -1000, shift;
    struct timespec now;
    real_clock(CLOCK_MONOTONIC, &now);
    long long now_ms = now.tv_sec * 1000LL + now.tv_nsec / 1000000;
    if (now_ms - read_at_ms < 20) return shift;
    read_at_ms = now_ms;
    const char *path = getenv("CLOCK_SHIFT_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return shift;
    char text[32];
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0) return shift;
    text[length] = 0;
    return shift = strtoll(text, NULL, 10);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int status = real_clock(clock, now);
    if (status || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return status;
    long long shift = shift_ms();
    now->tv_sec += shift / 1000;
    now->tv_nsec += shift % 1000 * 1000000;
    if (now->tv_nsec < 0) { now->tv_nsec += 1000000000; now->tv_sec--; }
    if (now->tv_nsec >= 1000000000) { now->tv_nsec -= 1000000000; now->tv_sec++; }
    return 0;
}

int gettimeofday(struct timeval *now, void *zone) {
    (void)zone; /* obsolete, and filled in by nobody */
    struct timespec precise;
    int status = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return status;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
