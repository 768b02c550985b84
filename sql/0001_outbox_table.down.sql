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
            HINT = format('Let outboxd publish them, or delete them: DELETE FROM %I.event WHERE published_at IS NULL;',
                          @schema_literal@);
    END IF;
END
$do$;

-- The publication of --capture wal goes along, when outboxd made it.
DO $do$
DECLARE
    remark text;
    slots text;
BEGIN
    SELECT obj_description(oid, 'pg_publication') INTO remark FROM pg_publication WHERE pubname = 'outboxd_outbox';
    IF remark = format('outboxd: inserts into %I.event (created by outboxd migrate)', @schema_literal@) THEN
        BEGIN
            DROP PUBLICATION outboxd_outbox;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE NOTICE 'publication outboxd_outbox is kept: % does not own it', current_user;
        END;
    ELSIF EXISTS (SELECT FROM pg_publication_tables WHERE pubname = 'outboxd_outbox'
                  AND (schemaname, tablename) = (@schema_literal@, 'event')) THEN
        RAISE NOTICE 'publication outboxd_outbox is kept: outboxd did not create it';
    END IF;
    SELECT string_agg(format('SELECT pg_drop_replication_slot(%L);', slot_name), ' ' ORDER BY slot_name) INTO slots
      FROM pg_replication_slots
     WHERE database = current_database() AND plugin = 'pgoutput' AND starts_with(slot_name, 'outboxd_');
    IF slots IS NOT NULL THEN
        RAISE NOTICE 'a replication slot retains WAL until you drop it: %', slots;
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
        RAISE NOTICE 'schema % is kept: it contains %, which outboxd did not create',
            quote_ident(@schema_literal@), foreign_object;
    ELSIF comment_text IS DISTINCT FROM 'outboxd: transactional outbox (created by outboxd migrate)' THEN
        RAISE NOTICE 'schema % is kept: outboxd did not create it', quote_ident(@schema_literal@);
    ELSE
        DROP SCHEMA @schema@;
    END IF;
END
$do$;
