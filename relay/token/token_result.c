#include "token/token_result.h"

#include <stdlib.h>

#include "base/memory.h"

struct TokenResult {
    TokenContent content; /* secret NULL: none yet */
    unsigned number;
    bool refused;
    int64_t fresh_until_us; /* monotonic */
    int64_t until_us;
    int64_t until_wall_ms;
};

TokenResult *token_result_new(void)
{
    return x_calloc(1, sizeof(TokenResult));
}

void token_result_free(TokenResult **result)
{
    if (*result != NULL) {
        token_content_free(&(*result)->content);
        free(*result);
        *result = NULL;
    }
}

/* The life began with the run at the latest, which is before the secret's did. */
void token_result_set(TokenResult *result, TokenContent *content, const Moment *begun,
                      int64_t life_us)
{
    token_content_free(&result->content);
    result->content = *content;
    *content = (TokenContent){0};
    result->number++;
    result->refused = false;
    result->fresh_until_us = begun->monotonic_us + life_us / 4 * 3;
    result->until_us = begun->monotonic_us + life_us;
    result->until_wall_ms = (begun->wall_us + life_us) / 1000;
}

bool token_result_is_valid(const TokenResult *result, int64_t now_us)
{
    return result->content.secret != NULL && !result->refused && now_us < result->until_us;
}

bool token_result_is_fresh(const TokenResult *result, int64_t now_us)
{
    return token_result_is_valid(result, now_us) && now_us < result->fresh_until_us;
}

int64_t token_result_left_us(const TokenResult *result, int64_t now_us)
{
    return result->until_us - now_us;
}

TokenValue token_result_value(const TokenResult *result)
{
    return (TokenValue){.number = result->number,
                        .secret = result->content.secret,
                        .principal = result->content.principal,
                        .extensions = &result->content.extensions,
                        .expires_ms = result->until_wall_ms};
}

bool token_result_is(const TokenResult *result, unsigned number)
{
    return result->content.secret != NULL && result->number == number && !result->refused;
}

bool token_result_refuse(TokenResult *result, unsigned number)
{
    bool new = token_result_is(result, number);
    result->refused = result->refused || new;
    return new;
}
