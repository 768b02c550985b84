/* settle: what a worker has under way is finished, so that nothing of it is left when it is freed.
 */
#pragma once

#include <poll.h>

#include "base/worker.h"

static inline void worker_settle(Worker *worker)
{
    while (worker_is_busy(worker)) {
        (void)poll(&(struct pollfd){.fd = worker_fd(worker), .events = POLLIN}, 1, 1000);
        worker_dispatch(worker);
    }
}
