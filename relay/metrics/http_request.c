/* Each line is cut off the rest and must match completely; nothing is skipped over. */
#include "metrics/http_request.h"

#include <string.h>
#include <strings.h>

size_t http_request_end(const char *bytes, size_t length, size_t from)
{
    /* The empty line may begin up to two bytes before the new ones. */
    size_t i = from > 2 ? from - 2 : 0;
    for (; i < length; i++) {
        if (bytes[i] != '\n') {
            continue;
        }
        if (i + 1 < length && bytes[i + 1] == '\n') {
            return i + 2;
        }
        if (i + 2 < length && bytes[i + 1] == '\r' && bytes[i + 2] == '\n') {
            return i + 3;
        }
    }
    return 0;
}

/* The next line without its end; false when no '\n' is left. */
static bool http_cut_line(Slice *rest, Slice *ret_line)
{
    const char *newline = memchr(rest->data, '\n', rest->length);
    if (newline == NULL) {
        return false;
    }
    size_t length = (size_t)(newline - rest->data);
    size_t taken = length + 1;
    if (length > 0 && rest->data[length - 1] == '\r') {
        length--;
    }
    *ret_line = (Slice){.data = rest->data, .length = length};
    rest->data += taken;
    rest->length -= taken;
    return true;
}

/* What stands before the separator; *rest goes on behind it. */
static bool http_cut(Slice *rest, char separator, Slice *ret_word)
{
    const char *at = memchr(rest->data, separator, rest->length);
    if (at == NULL) {
        return false;
    }
    *ret_word = (Slice){.data = rest->data, .length = (size_t)(at - rest->data)};
    rest->length -= ret_word->length + 1;
    rest->data = at + 1;
    return true;
}

/* RFC 9110 token: method and field names. */
static bool http_is_token(Slice word)
{
    for (size_t i = 0; i < word.length; i++) {
        char c = word.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL)) {
            return false;
        }
    }
    return word.length > 0;
}

/* No control characters, except tabs in field values. */
static bool http_is_text(Slice text, bool tabs)
{
    for (size_t i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if ((c < ' ' && !(tabs && c == '\t')) || c == 0x7F) {
            return false;
        }
    }
    return true;
}

static Slice http_trim(Slice text)
{
    while (text.length > 0 && (text.data[0] == ' ' || text.data[0] == '\t')) {
        text.data++;
        text.length--;
    }
    while (text.length > 0 &&
           (text.data[text.length - 1] == ' ' || text.data[text.length - 1] == '\t')) {
        text.length--;
    }
    return text;
}

static bool http_is(Slice text, const char *wanted)
{
    return text.length == strlen(wanted) && strncasecmp(text.data, wanted, text.length) == 0;
}

/* "/path?query", or the absolute form that proxies send, "http://host/path?query". */
static bool http_read_target(Slice target, HttpRequest *request)
{
    static const char SCHEME[] = "http://";
    if (!http_is_text(target, false)) {
        return false;
    }
    if (target.length > sizeof(SCHEME) - 1 &&
        strncasecmp(target.data, SCHEME, sizeof(SCHEME) - 1) == 0) {
        size_t skip = sizeof(SCHEME) - 1;
        const char *slash = memchr(target.data + skip, '/', target.length - skip);
        if (slash == NULL) {
            return false;
        }
        request->authority =
            (Slice){.data = target.data + skip, .length = (size_t)(slash - target.data) - skip};
        target.length -= (size_t)(slash - target.data);
        target.data = slash;
    }
    if (target.length == 0 || target.data[0] != '/') {
        return false;
    }
    request->path = target;
    request->query = SLICE_LITERAL("");
    Slice rest = target;
    Slice path;
    if (http_cut(&rest, '?', &path)) {
        request->path = path;
        request->query = rest;
    }
    return true;
}

static int http_read_request_line(Slice line, HttpRequest *request)
{
    Slice rest = line;
    Slice method;
    Slice target;
    if (!http_cut(&rest, ' ', &method) || !http_cut(&rest, ' ', &target) ||
        !http_is_token(method)) {
        return 400;
    }
    if (rest.length != 8 || memcmp(rest.data, "HTTP/", 5) != 0 || rest.data[6] != '.') {
        return 400;
    }
    if (rest.data[5] != '1' || rest.data[7] < '0' || rest.data[7] > '9') {
        return 505;
    }
    request->head = method.length == 4 && memcmp(method.data, "HEAD", 4) == 0;
    if (!request->head && !(method.length == 3 && memcmp(method.data, "GET", 3) == 0)) {
        return 405;
    }
    return http_read_target(target, request) ? 200 : 400;
}

static int http_check_field(Slice line, HttpRequest *request)
{
    Slice value = line;
    Slice name;
    if (!http_cut(&value, ':', &name) || !http_is_token(name) || !http_is_text(value, true)) {
        return 400;
    }
    value = http_trim(value);
    if (http_is(name, "host")) {
        if (!slice_is_null(request->host)) {
            return 400;
        }
        request->host = value;
    }
    if (http_is(name, "transfer-encoding") ||
        (http_is(name, "content-length") && !http_is(value, "0"))) {
        return 413;
    }
    return 200;
}

int http_request_parse(const char *bytes, size_t length, HttpRequest *ret_request)
{
    Slice rest = {.data = bytes, .length = length};
    Slice line;
    HttpRequest request = {0};
    if (!http_cut_line(&rest, &line)) {
        return 400;
    }
    int code = http_read_request_line(line, &request);
    while (code == 200) {
        if (!http_cut_line(&rest, &line)) {
            return 400;
        }
        if (line.length == 0) {
            break;
        }
        code = http_check_field(line, &request);
    }
    if (code == 200) {
        *ret_request = request;
    }
    return code;
}

/* "name:port" without its port; a port is digits only. */
static Slice http_host_name(Slice host)
{
    size_t digits = 0;
    while (digits < host.length && host.data[host.length - 1 - digits] >= '0' &&
           host.data[host.length - 1 - digits] <= '9') {
        digits++;
    }
    if (digits < host.length && host.data[host.length - 1 - digits] == ':') {
        host.length -= digits + 1;
    }
    return host;
}

static bool http_host_is_local(Slice host, const char *own)
{
    Slice name = http_host_name(host);
    return http_is(name, "localhost") || http_is(name, "127.0.0.1") || http_is(name, "[::1]") ||
           http_is(name, own);
}

bool http_request_is_local(const HttpRequest *request, const char *own)
{
    return (slice_is_null(request->host) || http_host_is_local(request->host, own)) &&
           (slice_is_null(request->authority) || http_host_is_local(request->authority, own));
}
