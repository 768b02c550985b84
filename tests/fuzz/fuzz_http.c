/* The head of an HTTP request. Read in pieces it ends where it ends as a whole; what is accepted
 * lies in the head and holds no control character; and what passes as local says so. */
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "check.h"
#include "metrics/http_request.h"
#include "target.h"

static void check_inside(Slice part, const char *head, size_t length)
{
    fuzz_check(slice_is_null(part) || part.length == 0 ||
               (part.data >= head && part.data + part.length <= head + length));
    for (size_t i = 0; i < part.length; i++) {
        unsigned char c = (unsigned char)part.data[i];
        fuzz_check((c >= ' ' || c == '\t') && c != 0x7F);
    }
}

static bool begins(Slice text, const char *with)
{
    size_t length = strlen(with);
    return text.length >= length && strncasecmp(text.data, with, length) == 0;
}

/* A name that is ours, and behind it nothing but a port. */
static bool is_local(Slice host)
{
    static const char *const NAMES[] = {"localhost", "127.0.0.1", "[::1]", "127.0.0.2"};
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        size_t length = strlen(NAMES[i]);
        if (!begins(host, NAMES[i]) || (host.length > length && host.data[length] != ':')) {
            continue;
        }
        bool port = true;
        for (size_t k = length + 1; k < host.length; k++) {
            port = port && host.data[k] >= '0' && host.data[k] <= '9';
        }
        if (port) {
            return true;
        }
    }
    return false;
}

static void check_head(const char *head, size_t length)
{
    HttpRequest request = {0};
    int code = http_request_parse(head, length, &request);
    fuzz_check(code == 200 || code == 400 || code == 405 || code == 413 || code == 505);
    if (code != 200) {
        fuzz_check(slice_is_null(request.path));
        return;
    }
    check_inside(request.path, head, length);
    check_inside(request.query, head, length);
    check_inside(request.host, head, length);
    check_inside(request.authority, head, length);
    fuzz_check(request.path.length > 0 && request.path.data[0] == '/');
    fuzz_check(memchr(request.path.data, '?', request.path.length) == NULL);
    bool local = (slice_is_null(request.host) || is_local(request.host)) &&
                 (slice_is_null(request.authority) || is_local(request.authority));
    fuzz_check(http_request_is_local(&request, "127.0.0.2") == local);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *exact = x_malloc(size + 1);
    memcpy(exact, data, size);
    char *head = size > 0 ? x_realloc(exact, size) : exact;
    size_t end = http_request_end(head, size, 0);
    size_t found = 0;
    for (size_t have = 0, seen = 0; have <= size && found == 0; seen = have, have++) {
        found = http_request_end(head, have, seen);
    }
    fuzz_check(found == end && end <= size);
    check_head(head, end > 0 ? end : size);
    free(head);
    return 0;
}
