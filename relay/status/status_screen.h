/* status_screen: the relay's status object (app/relay_status.c) as a screen, and as an exit code.
 * Reads the object tolerantly: a relay of another version may have more keys, or fewer. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

/** Appends the screen: servers, a table of pipelines, then what is wrong with each, and its remedy.
 * now_us is wall-clock time. */
void status_screen_add(const json_t *status, bool colours, int64_t now_us, Text *out);

/** EXIT_OK when every pipeline is running or on standby and the servers are connected (a standby
 * needs no Kafka), else the side that failed: EXIT_POSTGRES, EXIT_KAFKA, EXIT_GAP, or
 * EXIT_INTERNAL. */
ExitCode status_screen_exit_code(const json_t *status);

/** Appends a line for each pipeline whose lag is above its objective or not known; whether there is
 * one. */
bool status_screen_add_late(const json_t *status, Text *out);
