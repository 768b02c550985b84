#include "change/change_out.h"

void change_out_free(ChangeOut *out)
{
    text_free(&out->json);
    text_free(&out->scratch);
    text_free(&out->item);
    text_free(&out->parts);
    vec_free(&out->pairs);
    for (size_t i = 0; i < out->gone.count; i++) {
        free(out->gone.items[i].label);
    }
    vec_free(&out->gone);
}
