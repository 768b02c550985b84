#include "config/reread.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "config/interpolate.h"
#include "config/source.h"

const char *reread_written(const Config *config, const char *key)
{
    const StringList *written = &config->kafka.written;
    size_t length = strlen(key);
    for (size_t i = 0; i < written->count; i++) {
        if (strncmp(written->items[i], key, length) == 0 && written->items[i][length] == '=') {
            return written->items[i] + length + 1;
        }
    }
    return NULL;
}

Status reread_property(const Config *config, const char *key, char **ret_value, Error *err)
{
    const char *written = reread_written(config, key);
    if (written == NULL) {
        *ret_value = NULL;
        return OK;
    }
    AUTO_TEXT directory = source_directory(config->file);
    AUTO_TEXT message = NULL;
    Interpolation how = {.environment = environ, .directory = directory};
    if (interpolate(&how, written, ret_value, &message) != OK) {
        error_set(err, CODE_KAFKA_CREDENTIALS_UNREADABLE, "%s: %s", key, message);
        return error_advise(err);
    }
    return OK;
}
