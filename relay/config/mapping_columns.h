/* mapping_columns: what the lists of columns of one mapping say together (internal to the room). */
#pragma once

#include "config/load.h"

/** Checks them; whether the table has the columns, only the database can tell. */
void mapping_columns_check(Load *load, const MappingConfig *mapping);
