#include "app/problems_print.h"

void problems_print(const Problems *problems, FILE *out)
{
    for (size_t i = 0; i < problems->count; i++) {
        const Problem *problem = &problems->items[i];
        fprintf(out, "%s: %s%s\n", problem->place, problem->warning ? "warning: " : "",
                problem->message);
        if (problem->remedy != NULL) {
            fprintf(out, "  remedy: %s\n", problem->remedy);
        }
    }
}
