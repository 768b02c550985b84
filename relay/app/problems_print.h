/* problems_print: problems of the configuration as users see them. */
#pragma once

#include <stdio.h>

#include "config/config.h"

/** One "place: message" each, with "  remedy: ..." below. */
void problems_print(const Problems *problems, FILE *out);
