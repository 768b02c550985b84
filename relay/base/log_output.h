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

/** As log_output_write(), but without waiting, and a line that is not taken does not count as lost.
 */
bool log_output_offer(const char *line, size_t length);

/** What was lost and is not told yet: the caller tells of it, and nobody else. */
LogLoss log_output_take_loss(void);

/** The caller could not tell of it. */
void log_output_return_loss(LogLoss loss);

/** Lines lost since the start of the process. */
uint64_t log_output_lost(void);

/** Descriptors 0 to 2 that are closed are made ones that can be neither read nor written: else the
 * next socket or file would be one of them, and get the log. Before anything is opened. */
void log_output_hold_descriptors(void);

enum { LOG_OUTPUT_PATIENCE_MS = 100 };
