-- The rights of the relay in captured_table; left out by --no-roles. The line is as those of 0005: it names one role at its end.

GRANT SELECT, INSERT, UPDATE, DELETE ON @schema@.captured_table TO outbox_relay;
