/* token_process: one run of a token command, from fork to the last of its processes.
 *
 * It runs without a shell, in a process group of its own, with /dev/null as standard input, and
 * with no other descriptor of ours. Its environment is ours without OUTBOXD_*, PGPASSWORD and what
 * is meant for the relay alone (NOTIFY_SOCKET and the like). It may take so long and print so much;
 * then, and when the relay ends, its whole process group is killed.
 *
 * The caller waits: a thread of its own, or a command of ours. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"

enum { TOKEN_SAID_BYTES_MAX = 16 * 1024 }; /* of stderr; what follows is read and dropped */

typedef struct TokenRun {
    const StringList *words;
    int64_t timeout_ms;
    int cancel_fd; /* readable: the run is of no use any more; -1: never */
} TokenRun;

/** Runs it to its end. *out is what it printed, at most TOKEN_OUTPUT_MAX; *said the beginning of
 * its stderr; both hold what there was also after a failure. Messages go behind "OPTION " ("ended
 * with exit code 3"); codes are TOKEN_COMMAND_FAILED, TOKEN_COMMAND_TIMEOUT and
 * TOKEN_OUTPUT_INVALID. */
Status token_process_run(const TokenRun *run, Text *out, Text *said, Error *err);

/** Kills what runs now, as the last thing before _exit. Any thread. */
void token_process_kill(void);
