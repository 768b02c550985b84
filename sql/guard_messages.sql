-- pg_logical_emit_message for nobody but those who need it here: the owners of our functions, whose rights emit_message and
-- set_context run with, and the relays, which flush the log with it. Needs the owner of that function, a superuser as a
-- rule. Twice is a no-op. The way back: GRANT EXECUTE ON FUNCTION ... TO PUBLIC.

DO $do$
DECLARE
    emitter record;
    role_name text;
    role_names text[];
BEGIN
    IF to_regclass(format('%I.position', @schema_literal@)) IS NULL
       OR NOT EXISTS (SELECT FROM pg_proc WHERE proname = 'emit_message' AND pronamespace = to_regnamespace(format('%I', @schema_literal@))) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'undefined_table',
            MESSAGE = format('schema %I has no emit_message', @schema_literal@),
            DETAIL = 'Whoever needs the right cannot be known before.',
            HINT = 'Run outboxd migrate first.';
    END IF;
    -- Of every schema of ours in this database: closing it for one must not close it for another.
    SELECT array_agg(DISTINCT pg_get_userbyid(who)) INTO role_names
      FROM (SELECT p.proowner AS who
              FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
             WHERE p.proname IN ('emit_message', 'set_context') AND p.prosecdef
               AND (obj_description(p.oid, 'pg_proc') LIKE 'outboxd: %' OR n.nspname = @schema_literal@)
            UNION
            SELECT r.grantee
              FROM pg_class c, aclexplode(c.relacl) r
             WHERE c.relname = 'position' AND c.relkind = 'r' AND obj_description(c.oid, 'pg_class') LIKE 'outboxd: %'
               AND r.privilege_type = 'UPDATE' AND r.grantee <> 0) needed;
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
                MESSAGE = format('%I may not close %s to PUBLIC', current_user, emitter.name),
                DETAIL = 'That needs the owner of the function, a superuser.',
                HINT = 'Let an administrator run what outboxd migrate --guard-messages --print writes.';
        END IF;
    END LOOP;
    RAISE NOTICE 'pg_logical_emit_message is closed to PUBLIC in database %; those who may execute it: %',
        current_database(), array_to_string(role_names, ', ');
END
$do$;
