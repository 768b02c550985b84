#include "outbox/poll_culprit.h"

bool culprit_is_sought(const Culprit *culprit)
{
    return culprit->unreadable.probe > 0;
}

size_t culprit_limit(const Culprit *culprit, size_t limit)
{
    return unreadable_limit(&culprit->unreadable, limit);
}

bool culprit_failed(Culprit *culprit, const Error *err, size_t limit, size_t rows,
                    const KnownRow *alone)
{
    if (alone != NULL) {
        bool again = culprit->row.seq == alone->seq && culprit->row.id == alone->id;
        culprit->unreadable.tries = again ? culprit->unreadable.tries : 0;
        culprit->row = *alone;
    }
    return unreadable_failed(&culprit->unreadable, err, limit, rows);
}

void culprit_passed(Culprit *culprit, size_t rows, size_t most)
{
    unreadable_passed(&culprit->unreadable, rows, most);
}

TableLean culprit_lean(const Culprit *culprit)
{
    return culprit->unreadable.lean;
}

KnownRow culprit_row(const Culprit *culprit)
{
    return culprit->row;
}

const Error *culprit_error(const Culprit *culprit)
{
    return &culprit->unreadable.error;
}

void culprit_forget_lean(Culprit *culprit)
{
    culprit->unreadable.lean = LEAN_NONE;
}

void culprit_release(Culprit *culprit)
{
    error_clear(&culprit->unreadable.error);
}
