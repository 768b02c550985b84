/* trim: gives memory back to the system while there is nothing to do. */
#pragma once

/** Returns free heap memory, spare arena chunks, and the pages of program and library code that
 * only starting up or a burst needed (they are read again from the file when needed). Loop thread
 * only; takes well under a millisecond. */
void trim_memory(void);
