#include "change/change_out.h"

void change_out_free(ChangeOut *out)
{
    text_free(&out->json);
    text_free(&out->scratch);
    text_free(&out->item);
    text_free(&out->parts);
    vec_free(&out->pairs);
}
