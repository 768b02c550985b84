DROP FUNCTION @schema@.set_context(text, text, text, boolean);
DROP FUNCTION @schema@.emit(text, text, text, jsonb, integer, bigint, text, text, text, jsonb, uuid, timestamptz, text, bytea, text);
DROP FUNCTION @schema@.check_traceparent(text);
