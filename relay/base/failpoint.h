/* failpoint: places where a test makes the program fail. Compiled out unless OUTBOXD_FAILPOINTS.
 *
 * OUTBOXD_FAILPOINTS="name:count:action[,...]": at the count-th passage (1 = first) of `name`, do
 * the action once: kill (SIGKILL to ourselves), exit (code 70), abort, sleep:MS, error (the macro
 * yields true and the caller behaves as if the step had failed).
 *
 * Polling passes these, in the order of a row's life (K numbers: the fault matrix in tests/faults):
 *   connect        K1  before connecting to PostgreSQL
 *   locked         K2  publisher lock taken, nothing read yet
 *   fetched        K8  rows read, nothing produced
 *   producing      K3  in the middle of a batch
 *   enqueued       K4  the batch is in librdkafka's queue
 *   delivered      K5  broker acknowledged, report not yet handled
 *   settled        K6  report handled, source not yet told
 *   before_mark    K9  a whole batch is acknowledged, mark statement not sent
 *   mark_sent      K10 mark statement sent, its commit unknown
 *   marked         K7  mark committed, not yet noted in memory
 *   topic_missing      a topic is missing and its events wait: it counts as missing for a minute
 *   forget_row         (error) a row that was read is lost, as by a fault of ours
 * The source that reads the WAL passes the same but `fetched` (only while it fills up from the
 * table), and these: streaming          START_REPLICATION accepted, nothing read yet in_transaction
 * an event of a transaction is read whose end is not feedback_sent      a status update is on its
 * way to the server
 */
#pragma once

#include <stdbool.h>

#ifdef OUTBOXD_FAILPOINTS
bool failpoint_hit(const char *name);
#define FAILPOINT(name) failpoint_hit(name)
#else
#define FAILPOINT(name) false
#endif
