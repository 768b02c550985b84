/* Masks. The first byte of the input is the form in which a secret stands in a connection string or
 * a property: each way in which people write one, right and wrong. The rest is the secret.
 *
 * Letters of the secret are capitals and digits are letters, and no form has a capital, so what is
 * found of it comes from it: no four bytes of the secret, one of them a letter, are shown. And what
 * was masked is masked already. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "check.h"
#include "config/dsn.h"
#include "config/mask.h"
#include "target.h"

enum { PART_BYTES = 4 };

typedef enum Writing { AS_IT_IS, QUOTED, PERCENT_ENCODED } Writing;

typedef struct Form {
    const char *before;
    const char *after;
    Writing writing;
} Form;

static const Form DSNS[] = {
    {"host=db password=", " user=relay", AS_IT_IS},
    {"host=db password=", "", AS_IT_IS},
    {"host=db password='", "' user=relay", AS_IT_IS},
    {"host=db password='", "' user=relay", QUOTED},
    {"password = ", "", AS_IT_IS},
    {"host=db pasword=", " user=relay", AS_IT_IS},
    {"host=db sslpassword='", "'", QUOTED},
    {"postgresql://relay:", "@db:5432/shop", AS_IT_IS},
    {"postgresql://relay:", "@db:5432/shop", PERCENT_ENCODED},
    {"postgres://:", "@db/shop?sslmode=require", AS_IT_IS},
    {"postgresql://relay:", "@[::1]:5432,db:5433/shop?application_name=a@b", AS_IT_IS},
    {"postgresql://db/shop?user=relay&password=", "", AS_IT_IS},
    {"postgresql://db/shop?password=", "&sslmode=require", PERCENT_ENCODED},
    {"postgresql://db?password=", "", AS_IT_IS},
    {"postgresql://db?pasword=", "&user=relay", AS_IT_IS},
    {"postgresql://db/shop?pass%77ord=", "", AS_IT_IS},
    {"", "", AS_IT_IS},
};

static const Form PROPERTIES[] = {
    {"sasl.password=", "", AS_IT_IS},
    {"sasl.pasword=", "", AS_IT_IS},
    {"sasl.password = ", "", AS_IT_IS},
    {"ssl.key.password=", "", AS_IT_IS},
    {"sasl.jaas.config=user=relay password='", "'", AS_IT_IS},
    {"", "", AS_IT_IS},
};

enum {
    DSN_COUNT = sizeof(DSNS) / sizeof(DSNS[0]),
    PROPERTY_COUNT = sizeof(PROPERTIES) / sizeof(PROPERTIES[0]),
};

/* No NUL, no small letter, no digit, and nothing that a reference begins with. */
static char *secret_of(const uint8_t *data, size_t size)
{
    char *secret = x_malloc(size + 1);
    for (size_t i = 0; i < size; i++) {
        unsigned char c = data[i];
        bool odd = c == '\0' || c == '$' || isdigit(c) != 0;
        secret[i] = odd ? (char)('A' + c % 26) : (char)toupper(c);
    }
    secret[size] = '\0';
    return secret;
}

static void add_secret(Text *text, const char *secret, Writing writing)
{
    for (const char *c = secret; *c != '\0'; c++) {
        if (writing == PERCENT_ENCODED && isupper((unsigned char)*c) == 0) {
            text_printf(text, "%%%02x", (unsigned)(unsigned char)*c);
        } else {
            text_add(text, writing == QUOTED && (*c == '\'' || *c == '\\') ? "\\" : "");
            text_add_char(text, *c);
        }
    }
}

static void check_hidden(const char *shown, const char *secret)
{
    size_t length = strlen(secret);
    for (size_t i = 0; i + PART_BYTES <= length; i++) {
        char part[PART_BYTES + 1] = {0};
        memcpy(part, secret + i, PART_BYTES);
        bool letter = false;
        for (size_t k = 0; k < PART_BYTES; k++) {
            letter = letter || isupper((unsigned char)part[k]) != 0;
        }
        if (letter && strstr(shown, part) != NULL) {
            (void)fprintf(stderr, "'%s' shows '%s' of '%s'\n", shown, part, secret);
            abort();
        }
    }
}

static void check_form(const Form *form, const char *secret, char *(*mask)(const char *))
{
    AUTO_BUFFER text = TEXT_EMPTY;
    text_add(&text, form->before);
    add_secret(&text, secret, form->writing);
    text_add(&text, form->after);
    AUTO_TEXT shown = mask(text.data);
    AUTO_TEXT again = mask(shown);
    check_hidden(shown, secret);
    fuzz_check(strcmp(again, shown) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    AUTO_TEXT secret = secret_of(data + 1, size - 1);
    size_t form = data[0] % (DSN_COUNT + PROPERTY_COUNT);
    if (form < DSN_COUNT) {
        check_form(&DSNS[form], secret, mask_dsn);
        check_form(&DSNS[form], secret, dsn_shown);
    } else {
        check_form(&PROPERTIES[form - DSN_COUNT], secret, mask_property);
    }
    return 0;
}
