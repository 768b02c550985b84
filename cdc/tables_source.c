/* The source of capture = "tables". */
#include "claim/claim.h"

Status tables_source_new(const SourceOptions *options, Source **ret_source, Error *err);

Status tables_source_new(const SourceOptions *options, Source **ret_source, Error *err)
{
    (void)options;
    (void)ret_source;
    return error_set(err, CODE_NOT_BUILT, "capture = \"tables\" is not built yet");
}
