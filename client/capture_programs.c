/* SPDX-License-Identifier: Apache-2.0 */
/* Versions as the programs print them. */
#include "client/capture_programs.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/str.h"
#include "client/capture_run.h"

void
capture_programs_clean(char *text)
{
	if (str_is_utf8(str_from(text)))
		return;
	for (; *text != '\0'; text++) {
		if ((unsigned char)*text > 127)
			*text = '?';
	}
}

int
capture_programs_ask(struct capture_programs *programs, const char *program,
    const char *option, const char *path, struct error *err)
{
	char *const argv[] = {
	    (char *)(uintptr_t)program, (char *)(uintptr_t)option, NULL};
	char *text;

	if (programs->count == CAPTURE_PROGRAMS_MAX)
		return error_set(err, ERROR_INTERNAL, "more than %d programs",
		    CAPTURE_PROGRAMS_MAX);
	text = capture_run_text(argv, err);
	if (text == NULL)
		return -1;
	if (strlen(text) > CAPTURE_VERSION_MAX)
		text[CAPTURE_VERSION_MAX] = '\0';
	capture_programs_clean(text);
	programs->items[programs->count++] =
	    (struct capture_program){xstrdup(path), text};
	return 0;
}

void
capture_programs_clear(struct capture_programs *programs)
{
	for (size_t i = 0; i < programs->count; i++) {
		free(programs->items[i].path);
		free(programs->items[i].version);
	}
	*programs = (struct capture_programs){.count = 0};
}
