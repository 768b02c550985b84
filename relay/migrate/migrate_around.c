/* How it works: what the database around our schema has to do with it: the roles that get rights,
 * row security that somebody else turned on. */
#include <stdlib.h>

#include "base/memory.h"
#include "migrate/migrate_internal.h"
#include "migrate/migrate_script.h"
#include "pg/ident.h"
#include "pg/result.h"

/* -- rights of other roles ----------------------------------------------------------------------
 */

static Status check_role(Migrate *migrate, const char *role, const char *option, Error *err)
{
    const char *values[] = {role};
    PGresult *result;
    if (migrate_query(migrate, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", 1, values,
                      &result, err) != OK) {
        return error_prefix(err, "%s", migrate->place);
    }
    bool exists = pg_value(result, 0, 0)[0] == 't';
    PQclear(result);
    if (exists) {
        return OK;
    }
    AUTO_TEXT quoted = ident_quote(role);
    error_set(err, CODE_MIGRATE_ROLE, "%s: %s: role '%s' does not exist", migrate->place, option,
              role);
    return error_hint(err,
                      "Nothing was changed. The names are case-sensitive. To create the role: "
                      "CREATE ROLE %s LOGIN;",
                      quoted);
}

Status migrate_check_grantees(Migrate *migrate, const MigrateGrantees *grantees, Error *err)
{
    Status status = OK;
    for (size_t i = 0; status == OK && i < grantees->writer_count; i++) {
        status = check_role(migrate, grantees->writers[i], "--writer", err);
    }
    for (size_t i = 0; status == OK && i < grantees->relay_count; i++) {
        status = check_role(migrate, grantees->relays[i], "--relay", err);
    }
    return status;
}

Status migrate_grant(Migrate *migrate, int last, const MigrateGrantees *grantees, Error *err)
{
    /* GRANT by somebody without the right to is only a warning */
    if (migrate_check_owner(migrate, err) != OK) {
        return FAILED;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    migrate_script_begin(&sql, migrate->schema);
    migrate_script_grants(&sql, migrate->schema, last, grantees);
    migrate_script_end(&sql);
    return migrate_run_script(migrate, text_string(&sql), "rights", err);
}

Status migrate_guard(Migrate *migrate, Error *err)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    migrate_script_begin(&sql, migrate->schema);
    migrate_script_guard(&sql, migrate->schema);
    migrate_script_end(&sql);
    return migrate_run_script(migrate, text_string(&sql), "pg_logical_emit_message", err);
}

Status migrate_may_grant(Migrate *migrate, bool *ret_may, Error *err)
{
    AUTO_TEXT may = NULL;
    if (migrate_value(migrate,
                      "SELECT bool_and(u.rolsuper OR pg_has_role(g.oid, 'MEMBER WITH ADMIN OPTION')"
                      " OR (u.rolcreaterole AND NOT g.rolsuper AND"
                      " current_setting('server_version_num')::integer < 160000))"
                      " FROM pg_roles u, pg_roles g WHERE $1 <> '' AND u.rolname = current_user"
                      " AND g.rolname IN ('outbox_writer', 'outbox_relay')",
                      &may, err) != OK) {
        return FAILED;
    }
    *ret_may = may != NULL && may[0] == 't';
    return OK;
}

/* -- afterwards ---------------------------------------------------------------------------------
 */

static Status look_at_row_security(Migrate *migrate, Text *out, Error *err)
{
    AUTO_TEXT text = NULL;
    if (migrate_value(
            migrate,
            "SELECT format('row security is on for %s: a relay that does not own them is not let "
            "near their rows%s. Run: %s', string_agg(c.relname, ', ' ORDER BY c.relname),"
            " coalesce((SELECT '; look at event trigger ' ||"
            " string_agg(format('%I (function %s)', evtname, evtfoid::regproc), ', ' ORDER BY"
            " evtname) FROM pg_event_trigger WHERE evtenabled <> 'D' AND evtevent ="
            " 'ddl_command_end'), ''), string_agg(format('ALTER TABLE %I.%I DISABLE ROW LEVEL "
            "SECURITY;', n.nspname, c.relname), ' ' ORDER BY c.relname))"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND c.relrowsecurity"
            " AND obj_description(c.oid, 'pg_class') LIKE 'outboxd: %'"
            " HAVING count(*) > 0",
            &text, err) != OK) {
        return FAILED;
    }
    if (text != NULL) {
        text_printf(out, "%s\n", text);
    }
    return OK;
}

Status migrate_look_around(Migrate *migrate, const MigrateGrantees *grantees, char **ret_text,
                           Error *err)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    migrate_script_begin(&sql, migrate->schema);
    migrate_script_check_usage(&sql, migrate->schema, grantees);
    migrate_script_end(&sql);
    if (migrate_run_script(migrate, text_string(&sql), "rights", err) != OK) {
        return FAILED;
    }
    AUTO_BUFFER out = TEXT_EMPTY;
    text_add(&out, text_string(&migrate->notices));
    if (look_at_row_security(migrate, &out, err) != OK) {
        return FAILED;
    }
    *ret_text = x_strdup(text_string(&out));
    return OK;
}
