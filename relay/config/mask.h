/* mask: hides secrets in what is shown. What cannot be understood is hidden rather than shown. */
#pragma once

#include <stdbool.h>

#include "base/slice.h"
#include "config/config.h"

/* What stands in the place of a secret. */
#define MASK "***"

/** True for keys of libpq or librdkafka whose value is a secret: password, sslpassword,
 * sasl.password, ssl.key.pem, and whatever has password, secret, token or oauth in its name. */
bool mask_is_secret(Slice key);

/** A connection string, key=value or URI, with its secrets masked; the caller frees it. */
char *mask_dsn(const char *dsn);

/** "key=value" of kafka.properties with a secret value masked; the caller frees it. */
char *mask_property(const char *property);
