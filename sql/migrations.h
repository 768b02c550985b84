/* migrations: the SQL of this folder, embedded at build time. Constant; nobody frees anything.
 *
 * The texts are templates: `@schema@` stands for the schema as an identifier, `@schema_literal@`
 * for its name as a string literal. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef struct Migration {
    int version;          /* 1, 2, 3, ... without holes */
    const char *name;     /* such as "outbox_table" */
    bool roles;           /* makes cluster-wide roles: left out by --no-roles */
    const char *checksum; /* SHA-256 of the up template, 64 hexadecimal digits */
    const char *up;
    const char *down;
} Migration;

/* In order of version: MIGRATIONS[i].version == i + 1. */
extern const Migration MIGRATIONS[];
extern const size_t MIGRATION_COUNT;

/* Template that makes the publication outboxd_outbox when there is none, and fails when there is
 * another. Not a migration: only capture = "wal" needs it. The way back is in that of migration 1.
 */
extern const char *const MIGRATION_PUBLICATION;

/* Template that closes pg_logical_emit_message to PUBLIC and keeps it open to the owners of our
 * functions and to the relays; needs the owner of that function. */
extern const char *const MIGRATION_GUARD;
