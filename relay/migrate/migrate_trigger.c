/* Event triggers of the database, which fire at what we make. */
#include "base/memory.h"
#include "migrate/migrate_internal.h"
#include "pg/result.h"
#include "pg/sqlstate.h"

/* Which of the database's event triggers the server's context $2 names. A function stands there
 * with its schema unless the function's own search_path finds it without. */
static const char FIND_EVENT_TRIGGER[] =
    "SELECT quote_ident(e.evtname), format('%I.%I()', n.nspname, p.proname), "
    "quote_ident(n.nspname),"
    " CASE e.evtenabled WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA'"
    " ELSE 'ENABLE' END, p.proconfig::text LIKE '%search_path=%'"
    " FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid"
    " JOIN pg_namespace n ON n.oid = p.pronamespace"
    " WHERE $1 <> '' AND e.evtenabled <> 'D' AND"
    " (strpos($2, ' ' || quote_ident(p.proname) || '()') > 0"
    " OR strpos($2, format(' %I.%I()', n.nspname, p.proname)) > 0"
    " OR strpos($2, format('\"%s\"', p.proname)) > 0) ORDER BY 1 LIMIT 1";

/* The class of errors that a name without its schema causes. */
static bool is_undefined(const Error *err)
{
    return sqlstate_is(err, "42P01") || sqlstate_is(err, "42883") || sqlstate_is(err, "42703") ||
           sqlstate_is(err, "42704") || sqlstate_is(err, "3F000");
}

/* The context names none; one that is written in C leaves none there. */
static void list_event_triggers(Migrate *migrate, Error *err)
{
    AUTO_TEXT triggers = NULL;
    if (err->code == CODE_MIGRATE_SQL && error_own_hint(err)[0] == '\0' &&
        migrate_value(migrate,
                      "SELECT string_agg(format('%I (function %s)', evtname, evtfoid::regproc),"
                      " ', ' ORDER BY evtname) FROM pg_event_trigger"
                      " WHERE $1 <> '' AND evtenabled <> 'D'",
                      &triggers, NULL) == OK &&
        triggers != NULL) {
        error_hint(
            err,
            "Nothing of this migration was changed. If the statement is not the cause, look at the "
            "event triggers of this database, which run for everything that outboxd creates: %s.",
            triggers);
    }
}

void migrate_name_event_trigger(Migrate *migrate, Error *err)
{
    const char *values[] = {migrate->schema, text_string(&migrate->place_of_error)};
    AUTO_TEXT before = x_strdup(error_message(err));
    PGresult *result;
    if (migrate_query(migrate, FIND_EVENT_TRIGGER, 2, values, &result, NULL) != OK) {
        return;
    }
    if (PQntuples(result) > 0) {
        const char *trigger = pg_value(result, 0, 0);
        const char *function = pg_value(result, 0, 1);
        bool names = is_undefined(err) && pg_value(result, 0, 4)[0] != 't';
        error_set(err, CODE_MIGRATE_EVENT_TRIGGER,
                  "event trigger '%s' (function %s) of this database failed while outboxd changed "
                  "its schema: %s",
                  trigger, function, before);
        AUTO_TEXT mend = x_format("outboxd works with search_path = pg_catalog. Ask its owner to "
                                  "run ALTER FUNCTION %s SET search_path = %s, pg_temp; or ",
                                  function, pg_value(result, 0, 2));
        error_hint(err,
                   "Nothing of this migration was changed. %sdisable it during the migration: "
                   "ALTER EVENT TRIGGER %s DISABLE; and afterwards ALTER EVENT TRIGGER %s %s;",
                   names ? mend : "Let its owner ", trigger, trigger, pg_value(result, 0, 3));
    } else {
        list_event_triggers(migrate, err);
    }
    PQclear(result);
}
