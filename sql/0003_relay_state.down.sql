-- Refuses while there are dead letters: nobody else has those events.

LOCK TABLE @schema@.dead_letter IN ACCESS EXCLUSIVE MODE;

DO $do$
DECLARE
    waiting bigint;
BEGIN
    SELECT count(*) INTO waiting FROM @schema@.dead_letter;
    IF waiting > 0 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_in_use',
            MESSAGE = format('table %I.dead_letter holds %s event(s)', @schema_literal@, waiting),
            DETAIL = 'Dropping the table would lose them.',
            HINT = format('Requeue or discard them first (outboxd dead), or delete them: DELETE FROM %I.dead_letter;', @schema_literal@);
    END IF;
END
$do$;

DROP TABLE @schema@.pause;
DROP TABLE @schema@.dead_letter;
DROP TABLE @schema@.publisher;
DROP TABLE @schema@.position;
