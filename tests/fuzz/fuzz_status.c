/* What answers `outboxd status` at monitor.listen: any program may have that port, and other
 * versions know other keys. The input is a whole HTTP answer; one that does not begin with "HTTP/"
 * is a body.
 *
 * Every object becomes screens, in any width, and an exit code; and nothing that steers a terminal
 * reaches it, by the screens or by --json, whose text stays the same object. */
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "check.h"
#include "command/screen.h"
#include "status/status_client.h"
#include "status/status_groups.h"
#include "status/status_live.h"
#include "status/status_screen.h"
#include "target.h"

static const char LISTEN[] = "127.0.0.1:9480";

/* Line ends are ours; JSON may hold blanks between its tokens. */
static void check_shown(const Text *text, bool json)
{
    const char *at = text_string(text);
    for (size_t left = text->length; left > 0;) {
        size_t bytes = utf8_sequence(at, left);
        fuzz_check(bytes > 0);
        uint32_t code = utf8_code(at, bytes);
        bool blank = code == '\n' || (json && (code == '\t' || code == '\r'));
        fuzz_check(blank || !utf8_steers(code));
        at += bytes;
        left -= bytes;
    }
}

static void check_json(const json_t *object, const Text *body)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    text_add_foreign_json(&out, text_string(body));
    check_shown(&out, true);
    json_error_t where;
    json_t *again = json_loadb(text_string(&out), out.length, 0, &where);
    fuzz_check(json_equal(object, again));
    json_decref(again);
}

static void check_screens(const json_t *object)
{
    AUTO_BUFFER screen = TEXT_EMPTY;
    Live live = {0};
    live_note(&live, object);
    live_note(&live, NULL);
    live_note(&live, object);
    status_screen_add(object, false, INT64_C(1795253204000000), &screen);
    status_groups_add(json_object_get(object, "consumer_groups"), false, &screen);
    (void)status_screen_add_late(object, &screen);
    live_add_screen(&live, false, 50, &screen);
    live_free(&live);
    check_shown(&screen, false);
    AUTO_BUFFER fitted = TEXT_EMPTY;
    screen_fit(text_string(&screen), 7, 20, &fitted);
    check_shown(&fitted, false);
    ExitCode code = status_screen_exit_code(object);
    fuzz_check(code == EXIT_OK || code == EXIT_POSTGRES || code == EXIT_KAFKA || code == EXIT_GAP ||
               code == EXIT_INTERNAL);
}

static void check_body(const Text *body)
{
    json_t *object = NULL;
    AUTO_ERROR err = {0};
    if (status_client_object(LISTEN, body, &object, &err) != OK) {
        fuzz_check(object == NULL && error_message(&err)[0] != '\0' &&
                   error_own_hint(&err)[0] != '\0');
        return;
    }
    check_screens(object);
    check_json(object, body);
    json_decref(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_BUFFER answer = TEXT_EMPTY;
    AUTO_BUFFER body = TEXT_EMPTY;
    AUTO_ERROR err = {0};
    text_append(&answer, (const char *)data, size);
    if (size < 5 || memcmp(data, "HTTP/", 5) != 0) {
        check_body(&answer);
    } else if (status_client_body(LISTEN, &answer, &body, &err) == OK) {
        check_body(&body);
    } else {
        fuzz_check(err.code == CODE_RELAY_ANSWER && error_message(&err)[0] != '\0');
    }
    return 0;
}
