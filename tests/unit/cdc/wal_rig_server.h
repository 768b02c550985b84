/* wal_rig_server: what the parts of the played server share. wal_rig_server.c knows the statements,
 * wal_rig_stream.c the log, wal_rig_position.c the marks and the position row. */
#pragma once

#include "wal_rig.h"

extern const char RIG_SYSTEM[];

bool rig_begins(const char *text, const char *with);
/** Notes what was asked for. */
void rig_trace(const char *word);
/** OID of the table that has the row. */
uint32_t rig_table_of(int64_t seq);
/** OID of the table that has the name, as text. */
const char *rig_configured_table(void);
int64_t rig_get_be(const char *bytes, int length);

/* wal_rig_stream.c */
void rig_serve_start(const StubQuery *query, StubReply *reply);
void rig_serve_peek(StubReply *reply);

/* wal_rig_position.c */
void rig_serve_mark(const StubQuery *query, StubReply *reply);
void rig_serve_sight(const char *sql, StubReply *reply);
void rig_serve_save(const char *sql, StubReply *reply);
void rig_serve_note(const char *sql, StubReply *reply);
