/* change_geometry: a geometry or geography of PostGIS, whose text is EWKB as hexadecimal digits
 * (https://postgis.net/docs/using_postgis_dbmanagement.html#EWKB_EWKT). */
#pragma once

#include <stdbool.h>

#include "base/slice.h"
#include "change/change_out.h"

/** Appends an object: the bytes as they are, and the SRID that they begin with. False: the text is
 * no EWKB. */
bool change_geometry_write(Slice text, ChangeOut *out);
