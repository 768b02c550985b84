/* golden_mapping: the mappings that profiles of tests/golden/run have, as the configuration of
 * outboxd would hold them. */
#pragma once

#include "config/tables.h"

/** That of a profile's options ("... mapping=masked"); NULL: none. */
const MappingConfig *golden_mapping(const char *options);
