/* token_result: the secret that is given out now, and how long. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "token/token.h"
#include "token/token_output.h"

typedef struct TokenResult TokenResult;

TokenResult *token_result_new(void);
void token_result_free(TokenResult **result);

/** A run that began then brought a secret of that life; takes what *content holds. */
void token_result_set(TokenResult *result, TokenContent *content, const Moment *begun,
                      int64_t life_us);

/** It can be used. */
bool token_result_is_valid(const TokenResult *result, int64_t now_us);
/** ... and less than three quarters of its life are over. */
bool token_result_is_fresh(const TokenResult *result, int64_t now_us);
/** Until its end. */
int64_t token_result_left_us(const TokenResult *result, int64_t now_us);

/** Only of one that is valid. */
TokenValue token_result_value(const TokenResult *result);

/** False: it is another one, or was refused before. */
bool token_result_refuse(TokenResult *result, unsigned number);
/** Whether it is that one, and nobody has refused it. */
bool token_result_is(const TokenResult *result, unsigned number);
