/* uuid: random names (RFC 9562). */
#pragma once

enum { UUID_TEXT = 37 }; /* with the NUL */

/** Version 4: random bits. */
void uuid_v4(char text[UUID_TEXT]);
/** Version 7: milliseconds since 1970, then random bits. */
void uuid_v7(char text[UUID_TEXT]);
