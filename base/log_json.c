/* SPDX-License-Identifier: Apache-2.0 */
/* Field by field; one that does not fit whole is taken back. */
#include "base/log_json.h"

#include <ctype.h>

struct output {
	char *data;
	size_t len;
	size_t size; /* without room for the closing brace */
	bool utf8;   /* bytes from 0x80 on are sound */
};

static bool
put(struct output *output, const char *data, size_t len)
{
	if (len > output->size - output->len)
		return false;
	memcpy(output->data + output->len, data, len);
	output->len += len;
	return true;
}

static bool
put_escaped(struct output *output, struct str text)
{
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.data[i];
		char escaped[8] = {(char)c};
		size_t len = 1;

		if (c == '"' || c == '\\') {
			escaped[0] = '\\';
			escaped[1] = (char)c;
			len = 2;
		} else if (c < ' ' || c == 0x7f ||
			   (c >= 0x80 && !output->utf8)) {
			escaped[0] = '?';
		}
		if (!put(output, escaped, len))
			return false;
	}
	return true;
}

static bool
put_field(struct output *output, struct str key, struct str value)
{
	size_t before = output->len;

	if ((before == 1 || put(output, ",", 1)) && put(output, "\"", 1) &&
	    put_escaped(output, key) && put(output, "\":\"", 3) &&
	    put_escaped(output, value) && put(output, "\"", 1))
		return true;
	output->len = before;
	return false;
}

/* Length of the key that text starts with and that is followed by "="; 0 when
 * there is none. */
static size_t
key_length(struct str text)
{
	size_t len = 0;

	while (len < text.len && (isalnum((unsigned char)text.data[len]) ||
				     text.data[len] == '_'))
		len++;
	return len < text.len && text.data[len] == '=' ? len : 0;
}

static struct str
skip(struct str text, size_t len)
{
	return (struct str){text.data + len, text.len - len};
}

/* How much of text, which starts behind the opening quote, is the value. */
static size_t
quoted_length(struct str text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] != '"')
			continue;
		if (i + 1 == text.len || (text.data[i + 1] == ' ' &&
					     key_length(skip(text, i + 2)) > 0))
			return i;
	}
	return text.len; /* was cut */
}

/* Takes one field off *rest. */
static void
take_field(struct str *rest, struct str *key, struct str *value)
{
	size_t len = key_length(*rest);

	if (len == 0) {
		*key = STR("text");
		*value = *rest;
		*rest = STR("");
		return;
	}
	*key = (struct str){rest->data, len};
	*rest = skip(*rest, len + 1);
	if (rest->len > 0 && rest->data[0] == '"') {
		*rest = skip(*rest, 1);
		len = quoted_length(*rest);
		*value = (struct str){rest->data, len};
		*rest = skip(*rest, len < rest->len ? len + 1 : len);
	} else {
		const char *end =
		    rest->len > 0 ? memchr(rest->data, ' ', rest->len) : NULL;

		len = end != NULL ? (size_t)(end - rest->data) : rest->len;
		*value = (struct str){rest->data, len};
		*rest = skip(*rest, len);
	}
	while (rest->len > 0 && rest->data[0] == ' ')
		*rest = skip(*rest, 1);
}

size_t
log_json_format(const struct log_line *line, char *out, size_t size)
{
	struct output output = {
	    .data = out, .size = size - 1, .utf8 = str_is_utf8(line->fields)};
	struct str rest = line->fields;

	put(&output, "{", 1);
	put_field(&output, STR("time"), line->time);
	put_field(&output, STR("level"), line->level);
	put_field(&output, STR("event"), line->event);
	while (rest.len > 0) {
		struct str key, value;

		take_field(&rest, &key, &value);
		if (!put_field(&output, key, value))
			break;
	}
	out[output.len++] = '}';
	return output.len;
}
