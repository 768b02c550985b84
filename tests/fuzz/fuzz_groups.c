/* What the relay and its helper for consumer groups say to each other. The first byte of the input:
 * 0 the rest is an answer, else a request.
 *
 * A request that was read is written as the same bytes. An answer that was read is whole: with a
 * byte less it is none; and its texts end within it. */
#include <string.h>

#include "base/memory.h"
#include "check.h"
#include "groups/groups_message.h"
#include "target.h"

static void check_request(const char *bytes, size_t length)
{
    GroupsRequest request;
    if (groups_request_read(bytes, length, &request)) {
        AUTO_BUFFER again = TEXT_EMPTY;
        TokenValue token;
        groups_request_write(request.config, &request.topics, &request.patterns,
                             groups_request_token(&request, &token) ? &token : NULL, &again);
        fuzz_check(groups_message_length(again.data) == length);
        fuzz_check(again.length == length + GROUPS_MESSAGE_HEAD);
        fuzz_check(memcmp(again.data + GROUPS_MESSAGE_HEAD, bytes, length) == 0);
    }
    groups_request_free(&request);
}

static void check_row(const GroupsAnswerRow *row, const char *bytes, size_t length)
{
    const char *end = bytes + length;
    fuzz_check(row->group >= bytes && row->group + strlen(row->group) < end);
    fuzz_check(row->topic > row->group && row->topic + strlen(row->topic) < end);
}

static void check_answer(const char *bytes, size_t length)
{
    GroupsAnswer answer;
    bool whole = groups_answer_read(bytes, length, &answer);
    if (whole) {
        fuzz_check(answer.error.class <= ERROR_FATAL && answer.count <= GROUP_ROWS_MAX);
        for (size_t i = 0; i < answer.count; i++) {
            check_row(&answer.rows[i], bytes, length);
        }
    }
    groups_answer_free(&answer);
    if (whole) {
        fuzz_check(!groups_answer_read(bytes, length - 1, &answer));
        groups_answer_free(&answer);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    char *exact = x_malloc(size);
    memcpy(exact, data + 1, size - 1);
    exact = x_realloc(exact, size > 1 ? size - 1 : 1);
    if (data[0] == 0) {
        check_answer(exact, size - 1);
    } else {
        check_request(exact, size - 1);
    }
    free(exact);
    return 0;
}
