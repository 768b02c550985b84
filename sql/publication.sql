-- What capture = "wal" reads, for the default pipeline: the inserts into the outbox table, and nothing else. Updates and
-- deletes would only cost; without them the rows need no replica identity. Twice is a no-op.

DO $do$
DECLARE
    event CONSTANT regclass := format('%I.event', @schema_literal@)::regclass;
    wanted CONSTANT text := format('CREATE PUBLICATION outboxd_outbox FOR TABLE %I.event WITH (publish = ''insert'');',
                                   @schema_literal@);
    remark CONSTANT text := format('outboxd: inserts into %I.event (created by outboxd migrate)', @schema_literal@);
    it pg_publication;
    faults text[];
    remedies text[];
BEGIN
    SELECT * INTO it FROM pg_publication WHERE pubname = 'outboxd_outbox';
    IF NOT FOUND THEN
        IF NOT has_database_privilege(current_database(), 'CREATE')
           OR NOT (SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = event) THEN
            RAISE EXCEPTION USING
                ERRCODE = 'insufficient_privilege',
                MESSAGE = format('%I may not create publication outboxd_outbox', current_user),
                DETAIL = format('That needs CREATE on the database and ownership of %I.event.', @schema_literal@),
                HINT = 'Ask an administrator to run: ' || wanted;
        END IF;
        EXECUTE wanted;
        -- The way back drops the publication only while it carries this comment.
        EXECUTE format('COMMENT ON PUBLICATION outboxd_outbox IS %L', remark);
        RETURN;
    END IF;

    IF it.puballtables OR EXISTS (SELECT FROM pg_publication_tables WHERE pubname = it.pubname
                                  AND (schemaname, tablename) <> (@schema_literal@, 'event')) THEN
        faults := faults || 'it publishes other tables'::text;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_publication_tables WHERE pubname = it.pubname
                   AND (schemaname, tablename) = (@schema_literal@, 'event')) THEN
        faults := faults || format('it does not publish %I.event', @schema_literal@);
    END IF;
    -- Row filters and column lists are of PostgreSQL 15 and later.
    IF EXISTS (SELECT FROM pg_publication_rel r, to_jsonb(r) j WHERE r.prpubid = it.oid AND r.prrelid = event
               AND coalesce(j ->> 'prqual', j ->> 'prattrs') IS NOT NULL) THEN
        faults := faults || 'a row filter or a column list hides events'::text;
    END IF;
    IF it.puballtables THEN
        remedies := ARRAY['DROP PUBLICATION outboxd_outbox;', wanted];
    ELSIF faults IS NOT NULL THEN
        remedies := ARRAY[format('ALTER PUBLICATION outboxd_outbox SET TABLE %I.event;', @schema_literal@)];
    END IF;
    IF NOT it.pubinsert OR it.pubupdate OR it.pubdelete OR it.pubtruncate THEN
        faults := faults || 'it does not publish inserts only'::text;
        IF NOT it.puballtables THEN
            remedies := remedies || 'ALTER PUBLICATION outboxd_outbox SET (publish = ''insert'');'::text;
        END IF;
    END IF;
    IF faults IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'duplicate_object',
            MESSAGE = format('publication outboxd_outbox exists, but not as outboxd creates it for %I.event', @schema_literal@),
            DETAIL = upper(left(array_to_string(faults, ', '), 1)) || substr(array_to_string(faults, ', '), 2) || '.',
            HINT = array_to_string(remedies, ' ')
                   || ' Or leave it, create another publication, and name that one in the option publication of the pipeline.';
    END IF;
END
$do$;
