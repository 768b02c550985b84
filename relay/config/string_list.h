/* string_list: the strings of one option. */
#pragma once

#include "base/vec.h"

typedef VEC(char *) StringList;
