#include "rows/unreadable.h"

#include "pg/sqlstate.h"

bool unreadable_failed(Unreadable *u, const Error *err, size_t limit, size_t rows)
{
    if (!sqlstate_is_of_data(err) || u->lean == LEAN_NAME) {
        return false;
    }
    u->ahead = 0;
    u->probe = 1;
    if (u->lean == LEAN_BODIES) {
        u->lean = LEAN_NAME;
    } else if (limit > 1) {
        u->ahead = rows < limit ? rows : limit - 1;
        u->tries = 0;
    } else {
        u->lean = ++u->tries >= sqlstate_tries_of_data(err) ? LEAN_BODIES : LEAN_NONE;
        error_copy(&u->error, err);
    }
    return true;
}

/* More at once again, little by little. */
void unreadable_passed(Unreadable *u, size_t rows, size_t most)
{
    u->lean = LEAN_NONE;
    u->tries = 0;
    if (u->ahead > 0) {
        u->ahead -= rows > 0 && rows < u->ahead ? rows : u->ahead;
    } else {
        u->probe = u->probe < most ? u->probe * 2 : 0;
    }
}

size_t unreadable_limit(const Unreadable *u, size_t limit)
{
    size_t rows = u->lean != LEAN_NONE ? 1 : u->ahead > 0 ? u->ahead : u->probe;
    return rows > 0 && rows < limit ? rows : limit;
}
