/* reread: what files that the configuration names hold now, after it was loaded. */
#pragma once

#include "base/error.h"
#include "config/config.h"

/** The value of a property of kafka.properties with its ${file:} references read again, in
 * *ret_value, which the caller wipes and frees; NULL: it has none, and stays as it is. Errors:
 * RETRY / KAFKA_CREDENTIALS_UNREADABLE. */
Status reread_property(const Config *config, const char *key, char **ret_value, Error *err);

/** The property as it was written, "${file:/run/secrets/kafka}", or NULL without such a reference;
 * borrowed. */
const char *reread_written(const Config *config, const char *key);
