-- Refuses while there are events that nobody has published; keeps the schema when somebody else uses it.

LOCK TABLE @schema@.event IN ACCESS EXCLUSIVE MODE;

DO $do$
DECLARE
    waiting bigint;
BEGIN
    SELECT count(*) INTO waiting FROM @schema@.event WHERE published_at IS NULL;
    IF waiting > 0 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_in_use',
            MESSAGE = format('table %I.event holds %s unpublished event(s)', @schema_literal@, waiting),
            DETAIL = 'Dropping the table would lose them.',
            HINT = format('Let outboxd publish them, or give them up: DELETE FROM %I.event WHERE published_at IS NULL;',
                          @schema_literal@);
    END IF;
END
$do$;

DROP TABLE @schema@.event;
DROP FUNCTION @schema@.new_event_id();
DROP TABLE @schema@.migration;

DO $do$
DECLARE
    foreign_object text;
    comment_text text;
BEGIN
    SELECT obj_description(n.oid, 'pg_namespace'),
           (SELECT min(pg_describe_object(d.classid, d.objid, d.objsubid))
              FROM pg_depend d
             WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid AND d.deptype = 'n')
      INTO comment_text, foreign_object
      FROM pg_namespace n
     WHERE n.nspname = @schema_literal@;
    IF foreign_object IS NOT NULL THEN
        RAISE NOTICE 'schema % is kept: it holds %, which outboxd did not make',
            quote_ident(@schema_literal@), foreign_object;
    ELSIF comment_text IS DISTINCT FROM 'outboxd: transactional outbox (created by outboxd migrate)' THEN
        RAISE NOTICE 'schema % is kept: outboxd did not create it', quote_ident(@schema_literal@);
    ELSE
        DROP SCHEMA @schema@;
    END IF;
END
$do$;
