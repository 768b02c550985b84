#include <criterion/criterion.h>

#include "command/roff.h"

Test(roff, what_would_steer_the_formatter_is_escaped)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    roff_add(&out, "a\\b -c 'd' `e` ^~");
    cr_assert_str_eq(text_string(&out), "a\\eb \\-c \\(aqd\\(aq \\(gae\\(ga \\(ha\\(ti");
}

Test(roff, a_line_never_begins_with_a_request)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    roff_add_words(&out, ".conf is read. 'x' too. .so is not a request");
    cr_assert_str_eq(text_string(&out),
                     "\\&.conf is read. \\(aqx\\(aq too. .so is not a request\n");
    text_clear(&out);
    roff_add_words(&out, "0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 "
                         "0123456789 .so");
    cr_assert_str_eq(text_string(&out),
                     "0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 "
                     "0123456789\n\\&.so\n");
}

Test(roff, each_sentence_begins_a_line_and_a_blank_line_ends_a_paragraph)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    roff_add_words(&out, "One is here. Two, e.g. three. `four` is bold.\n\nLast");
    cr_assert_str_eq(text_string(&out), "One is here.\nTwo, e.g. three.\n\\fBfour\\fR is bold.\n"
                                        ".PP\nLast\n");
}

Test(roff, quoted_code_is_bold_over_blanks_and_ends_with_its_paragraph)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    roff_add_words(&out, "run `outboxd check -c FILE` first; `open");
    cr_assert_str_eq(text_string(&out),
                     "run \\fBoutboxd check \\-c FILE\\fR first; \\fBopen\\fR\n");
}

Test(roff, an_argument_of_a_macro_is_one_word)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    roff_add_macro(&out, "SS", "the \"first\" one");
    cr_assert_str_eq(text_string(&out), ".SS \"the \\(dqfirst\\(dq one\"\n");
}

Test(roff, a_synopsis_is_broken_between_brackets_only)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    roff_add_synopsis(&out, "ID... | --all [-c FILE] [--watch[=SECONDS] | --late] [--size s|l]");
    cr_assert_str_eq(text_string(&out),
                     "\\fIID\\fR...\\&\n|\n\\fB\\-\\-all\\fR\n[\\fB\\-c\\fR\\ \\fIFILE\\fR]\n"
                     "[\\fB\\-\\-watch\\fR[=\\fISECONDS\\fR]\\ |\\ \\fB\\-\\-late\\fR]\n"
                     "[\\fB\\-\\-size\\fR\\ s|l]\n");
}

Test(roff, flags_stay_in_one_line)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    roff_add_flags(&out, "-c, --config FILE");
    cr_assert_str_eq(text_string(&out), "\\fB\\-c\\fR, \\fB\\-\\-config\\fR \\fIFILE\\fR\n");
}
