DROP FUNCTION @schema@.set_context(text, text, text, boolean);
DROP FUNCTION @schema@.emit_message(text, text, text, jsonb, integer, bigint, text, text, text, jsonb, uuid, timestamptz, text, bytea, text);
DROP FUNCTION @schema@.message_field(text);
DROP FUNCTION @schema@.emit(text, text, text, jsonb, integer, bigint, text, text, text, jsonb, uuid, timestamptz, text, bytea, text);
DROP FUNCTION @schema@.check_event(text, text, text, jsonb, bytea, jsonb, text, timestamptz, text);
DROP FUNCTION @schema@.check_traceparent(text);
