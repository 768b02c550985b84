DROP VIEW @schema@.slot_health;
DROP VIEW @schema@.backlog;
