/* option_choices: what options of the types OPTION_ENUM and OPTION_LETTERS take; each list ends
 * with a NULL name. */
#pragma once

#include "config/options.h"

extern const OptionChoice CHOICES_CAPTURES[];
extern const OptionChoice CHOICES_SINKS[];
extern const OptionChoice CHOICES_FILE_FORMATS[];
extern const OptionChoice CHOICES_ON_PUBLISHES[];
extern const OptionChoice CHOICES_DELIVERIES[];
extern const OptionChoice CHOICES_HEADER_STYLES[];
extern const OptionChoice CHOICES_MESSAGES_FROM[];
extern const OptionChoice CHOICES_ON_POISONS[];
extern const OptionChoice CHOICES_ON_MISSING_TOPICS[];
extern const OptionChoice CHOICES_ON_UNROUTEDS[];
extern const OptionChoice CHOICES_TIMESTAMPS[];
extern const OptionChoice CHOICES_ON_FAILURES[];
extern const OptionChoice CHOICES_POOLERS[];
extern const OptionChoice CHOICES_LOG_FORMATS[];
extern const OptionChoice CHOICES_LOG_LEVELS[];
extern const OptionChoice CHOICES_FORMATS[];
extern const OptionChoice CHOICES_SNAPSHOTS[];
extern const OptionChoice CHOICES_UNKNOWN_TYPES[];
extern const OptionChoice CHOICES_DECIMALS[];
extern const OptionChoice CHOICES_TIMES[];
extern const OptionChoice CHOICES_INTERVALS[];
extern const OptionChoice CHOICES_BINARIES[];
extern const OptionChoice CHOICES_HSTORES[];
extern const OptionChoice CHOICES_TOASTS[];
extern const OptionChoice CHOICES_OPERATIONS[];
