-- pg_logical_emit_message for nobody but those who need it here: the owners of our functions, whose rights emit_message and
-- set_context run with, and the relays, which flush the log with it. Needs the owner of that function, a superuser as a
-- rule. Twice is a no-op. The way back: GRANT EXECUTE ON FUNCTION ... TO PUBLIC.

DO $do$
DECLARE
    emitter record;
    role_name text;
    role_names text[];
    others text;
    schema_id CONSTANT oid := (SELECT oid FROM pg_namespace WHERE nspname = @schema_literal@);
BEGIN
    IF to_regclass(format('%I.position', @schema_literal@)) IS NULL
       OR NOT EXISTS (SELECT FROM pg_proc WHERE proname = 'emit_message' AND pronamespace = schema_id) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'undefined_table',
            MESSAGE = format('schema %I has no emit_message', @schema_literal@),
            DETAIL = 'Until it exists, the roles that need the privilege are not known.',
            HINT = 'Run outboxd migrate first.';
    END IF;
    -- Of this schema alone: anybody who may create a schema can make one that looks like ours.
    SELECT array_agg(DISTINCT pg_get_userbyid(who)) INTO role_names
      FROM (SELECT p.proowner AS who
              FROM pg_proc p
             WHERE p.proname IN ('emit_message', 'set_context') AND p.pronamespace = schema_id
            UNION
            SELECT r.grantee
              FROM pg_class c, aclexplode(c.relacl) r
             WHERE c.relname = 'position' AND c.relnamespace = schema_id AND r.privilege_type = 'UPDATE' AND r.grantee <> 0) needed;
    FOR emitter IN
        SELECT p.oid::regprocedure AS name, p.oid
          FROM pg_proc p
         WHERE p.proname = 'pg_logical_emit_message' AND p.pronamespace = 'pg_catalog'::regnamespace
         ORDER BY p.oid
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', emitter.name);
        FOREACH role_name IN ARRAY role_names LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', emitter.name, role_name);
        END LOOP;
        IF has_function_privilege('public', emitter.oid, 'EXECUTE') THEN
            RAISE EXCEPTION USING
                ERRCODE = 'insufficient_privilege',
                MESSAGE = format('%I may not revoke %s from PUBLIC', current_user, emitter.name),
                DETAIL = 'Only the owner of the function, a superuser, may do this.',
                HINT = 'Ask an administrator to run the output of outboxd migrate --guard-messages --print.';
        END IF;
    END LOOP;
    RAISE NOTICE 'PUBLIC may no longer execute pg_logical_emit_message in database %; roles that may: %',
        current_database(), array_to_string(role_names, ', ');
    SELECT string_agg(format('%I of %I', n.nspname, pg_get_userbyid(p.proowner)), ', ' ORDER BY n.nspname) INTO others
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE p.proname = 'emit_message' AND p.prosecdef AND p.pronamespace <> schema_id
       AND NOT has_function_privilege(p.proowner, 'pg_catalog.pg_logical_emit_message(boolean, text, bytea' || CASE
           WHEN current_setting('server_version_num')::integer >= 170000 THEN ', boolean)' ELSE ')' END, 'EXECUTE');
    IF others IS NOT NULL THEN
        RAISE NOTICE 'emit_message of schema % can no longer write: for each schema that you trust, run outboxd migrate --schema NAME --guard-messages',
            others;
    END IF;
END
$do$;
