/* Works with /proc mounted subset=pid (systemd's ProcSubset=pid): nothing outside /proc/self is
 * read. What cannot be read is hidden, not 0. */
#include "metrics/process.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log_output.h"

typedef struct Process {
    double *cpu_seconds;
    double *resident_bytes;
    double *virtual_bytes;
    double *open_fds;
    double *max_fds;
    double *start_time;
    uint64_t *log_lines_lost;
} Process;

static double process_cpu_seconds(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) {
        return NAN;
    }
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void process_read_memory(Process *process)
{
    *process->virtual_bytes = NAN;
    *process->resident_bytes = NAN;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL) {
        return;
    }
    char line[128];
    if (fgets(line, sizeof(line), file) != NULL) {
        char *rest = NULL;
        double page = (double)sysconf(_SC_PAGESIZE);
        *process->virtual_bytes = (double)strtoull(line, &rest, 10) * page;
        *process->resident_bytes = (double)strtoull(rest, NULL, 10) * page;
    }
    (void)fclose(file);
}

static double process_open_fds(void)
{
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) {
        return NAN;
    }
    int count = -1; /* the directory's own descriptor */
    for (const struct dirent *entry = NULL;
         (entry = readdir(directory)) != NULL;) { // NOLINT(concurrency-mt-unsafe): own stream
        count += entry->d_name[0] != '.';
    }
    closedir(directory);
    return count;
}

static double process_max_fds(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return NAN;
    }
    return limit.rlim_cur == RLIM_INFINITY ? INFINITY : (double)limit.rlim_cur;
}

/* Field 22 of /proc/self/stat: clock ticks after boot. The second field is the program's name in
 * parentheses and may hold anything, so counting begins after the last ')'. */
static double process_start_time(void)
{
    FILE *file = fopen("/proc/self/stat", "re");
    if (file == NULL) {
        return NAN;
    }
    char line[1024];
    const char *field = fgets(line, sizeof(line), file) != NULL ? strrchr(line, ')') : NULL;
    (void)fclose(file);
    for (int number = 2; field != NULL && number < 22; number++) {
        field = strchr(field + 1, ' ');
    }
    struct timespec boot;
    if (field == NULL || clock_gettime(CLOCK_BOOTTIME, &boot) != 0) {
        return NAN;
    }
    int64_t after_boot_us = (int64_t)strtoull(field, NULL, 10) * (1000000 / sysconf(_SC_CLK_TCK));
    int64_t age_us = (int64_t)boot.tv_sec * 1000000 + boot.tv_nsec / 1000 - after_boot_us;
    int64_t start_us = clock_wall_us() - age_us;
    int64_t start_10ms = start_us / 10000; /* a clock tick: more digits would be noise */
    return (double)start_10ms / 100;
}

static void process_collect(void *arg)
{
    Process *process = arg;
    *process->cpu_seconds = process_cpu_seconds();
    process_read_memory(process);
    *process->open_fds = process_open_fds();
    *process->max_fds = process_max_fds();
    *process->log_lines_lost = log_output_lost();
}

void process_add_metrics(Metrics *metrics)
{
    Process *process = metrics_keep(metrics, sizeof(*process));
    process->cpu_seconds = metrics_counter_seconds(
        metrics, "process_cpu_seconds_total", "User and system CPU time spent in seconds.", NULL);
    process->resident_bytes = metrics_gauge(metrics, "process_resident_memory_bytes",
                                            "Resident memory size in bytes.", NULL);
    process->virtual_bytes = metrics_gauge(metrics, "process_virtual_memory_bytes",
                                           "Virtual memory size in bytes.", NULL);
    process->open_fds =
        metrics_gauge(metrics, "process_open_fds", "Number of open file descriptors.", NULL);
    process->max_fds = metrics_gauge(metrics, "process_max_fds",
                                     "Highest number of file descriptors allowed.", NULL);
    process->start_time =
        metrics_gauge(metrics, "process_start_time_seconds",
                      "Start time of the process since the Unix epoch in seconds.", NULL);
    *process->start_time = process_start_time();
    process->log_lines_lost = metrics_counter(
        metrics, "outboxd_log_lines_lost_total",
        "Log lines that could not be written to stderr: nobody read them, or the disk was full.",
        NULL);
    metrics_on_collect(metrics, process_collect, process);
}
