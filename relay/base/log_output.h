/* log_output: brings log lines to stderr. Whoever writes one may be the loop, which publishes, and
 * so it is never held up by a reader that does not read, or a disk that is full: then lines are
 * lost, and counted. Any thread; allocates nothing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct LogLoss {
    uint64_t lines; /* 0: none */
    int reason;     /* errno of the first; EAGAIN: nobody reads */
} LogLoss;

/** Writes a whole line, waiting for a reader at most LOG_OUTPUT_PATIENCE_MS, and a tenth of the
 * time in all. False: it is lost. */
bool log_output_write(const char *line, size_t length);

/** What was lost since the last call of log_output_told(). */
LogLoss log_output_loss(void);

/** The log tells of so many lost lines. */
void log_output_told(uint64_t lines);

/** Lines lost since the start of the process. */
uint64_t log_output_lost(void);

/** Descriptors 0 to 2 that are closed are made ones that can be neither read nor written: else the
 * next socket or file would be one of them, and get the log. Before anything is opened. */
void log_output_hold_descriptors(void);

enum { LOG_OUTPUT_PATIENCE_MS = 100 };
