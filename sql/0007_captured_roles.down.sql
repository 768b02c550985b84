DO $do$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'outbox_relay') THEN
        REVOKE ALL ON @schema@.captured_table FROM outbox_relay;
    END IF;
END
$do$;
