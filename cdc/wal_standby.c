/* Somebody else publishes. */
#include "cdc/wal_internal.h"

void wal_stand_by(WalSource *wal, const char *holder)
{
    claim_stand_by(wal->claim, holder);
    waiting_give_back(wal);
    waiting_forget(wal);
    position_drop_waiting(wal);
    marker_stop(wal->marker);
    wal->state = WAL_AWAY;
    wal_tell(wal, NEWS_SETTLED);
}
