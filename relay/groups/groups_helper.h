/* groups_helper: the process that asks Kafka about consumer groups, so that what goes wrong in
 * there cannot reach publishing: librdkafka's admin calls to a group's coordinator abort the
 * process when a broker goes away at the wrong moment (its issues 3663, 4605 and, before 2.12,
 * 5040).
 *
 * It is this program with a sub-command of its own, which people have no use for. */
#pragma once

#include <sys/types.h>

#include "base/error.h"

/** Starts the helper; *ret_fd (non-blocking, the caller closes it) takes requests and gives
 * answers. The caller reaps *ret_pid. The error is RETRY. */
Status groups_helper_start(pid_t *ret_pid, int *ret_fd, Error *err);

/** The helper: one answer on file descriptor 0 for each request there; ends with it. The result is
 * an exit code. */
int groups_helper_main(void);
