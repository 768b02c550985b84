#include "flow/acker.h"

void acker_open(Acker *acker, Batch *batch)
{
    batch->newer = NULL;
    if (acker->newest != NULL) {
        acker->newest->newer = batch;
    } else {
        acker->oldest = batch;
    }
    acker->newest = batch;
    acker->batches++;
    acker->events += batch->count;
    acker->bytes += batch->bytes;
}

Batch *acker_pop_done(Acker *acker)
{
    if (acker->oldest == NULL || acker->oldest->unsettled > 0) {
        return NULL;
    }
    return acker_pop(acker);
}

Batch *acker_pop(Acker *acker)
{
    Batch *batch = acker->oldest;
    if (batch == NULL) {
        return NULL;
    }
    acker->oldest = batch->newer;
    if (acker->oldest == NULL) {
        acker->newest = NULL;
    }
    acker->batches--;
    acker->events -= batch->count;
    acker->bytes -= batch->bytes;
    batch->newer = NULL;
    return batch;
}
