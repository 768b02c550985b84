/* change_hex: bytes that a text has as hexadecimal digits, as bytea and PostGIS print them. */
#pragma once

#include <stdbool.h>

#include "base/slice.h"
#include "base/text.h"

/** Appends the bytes. False: there is half a byte, or another character; a part was appended. */
bool change_hex_read(Slice digits, Text *bytes);
