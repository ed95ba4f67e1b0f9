/* SPDX-License-Identifier: Apache-2.0 */
/* Every offset is checked against the bytes at hand before it is followed. */
#include "client/elf_needed.h"

#include <elf.h>
#include <stdbool.h>

#include "base/error.h"

#define PROGRAM_HEADERS_MAX 512

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define OUR_ORDER ELFDATA2LSB
#else
#define OUR_ORDER ELFDATA2MSB
#endif

/* One program header, of either class. */
struct segment {
	uint32_t type;
	uint64_t offset;
	uint64_t address;
	uint64_t size; /* in the file */
};

struct elf {
	struct str bytes;
	bool wide; /* 64 bits */
	uint64_t segments_at;
	size_t segment_size;
	size_t segment_count;
};

/* NULL when it does not lie within the file. */
static const void *
at(const struct elf *elf, uint64_t offset, uint64_t size)
{
	if (offset > elf->bytes.len || size > elf->bytes.len - offset)
		return NULL;
	return elf->bytes.data + offset;
}

static bool
read_segment(const struct elf *elf, size_t i, struct segment *segment)
{
	const void *bytes =
	    at(elf, elf->segments_at + i * (uint64_t)elf->segment_size,
		elf->segment_size);
	Elf64_Phdr wide;
	Elf32_Phdr narrow;

	if (bytes == NULL)
		return false;
	if (elf->wide) {
		memcpy(&wide, bytes, sizeof(wide));
		*segment = (struct segment){
		    wide.p_type, wide.p_offset, wide.p_vaddr, wide.p_filesz};
	} else {
		memcpy(&narrow, bytes, sizeof(narrow));
		*segment = (struct segment){narrow.p_type, narrow.p_offset,
		    narrow.p_vaddr, narrow.p_filesz};
	}
	return true;
}

static bool
find_segment(const struct elf *elf, uint32_t type, struct segment *found)
{
	for (size_t i = 0; i < elf->segment_count; i++) {
		if (read_segment(elf, i, found) && found->type == type)
			return true;
	}
	return false;
}

/* The file offset of a virtual address. */
static bool
locate(const struct elf *elf, uint64_t address, uint64_t *offset)
{
	struct segment segment;

	for (size_t i = 0; i < elf->segment_count; i++) {
		if (!read_segment(elf, i, &segment) ||
		    segment.type != PT_LOAD || address < segment.address ||
		    address - segment.address >= segment.size)
			continue;
		*offset = segment.offset + (address - segment.address);
		return true;
	}
	return false;
}

/* 1 when the header is that of a program or shared library, 0, -1. */
static int
read_header(struct elf *elf, struct elf_needed *needed, struct error *err)
{
	const unsigned char *ident = at(elf, 0, EI_NIDENT);
	Elf64_Ehdr wide;
	Elf32_Ehdr narrow;
	uint16_t type;

	if (ident == NULL || memcmp(ident, ELFMAG, SELFMAG) != 0 ||
	    ident[EI_DATA] != OUR_ORDER)
		return 0;
	elf->wide = ident[EI_CLASS] == ELFCLASS64;
	needed->class = ident[EI_CLASS];
	if (elf->wide && at(elf, 0, sizeof(wide)) != NULL) {
		memcpy(&wide, elf->bytes.data, sizeof(wide));
		type = wide.e_type;
		needed->machine = wide.e_machine;
		elf->segments_at = wide.e_phoff;
		elf->segment_size = wide.e_phentsize;
		elf->segment_count = wide.e_phnum;
	} else if (!elf->wide && at(elf, 0, sizeof(narrow)) != NULL) {
		memcpy(&narrow, elf->bytes.data, sizeof(narrow));
		type = narrow.e_type;
		needed->machine = narrow.e_machine;
		elf->segments_at = narrow.e_phoff;
		elf->segment_size = narrow.e_phentsize;
		elf->segment_count = narrow.e_phnum;
	} else {
		return error_set(
		    err, ERROR_INVALID_ARGUMENT, "the ELF header is cut off");
	}
	if (type != ET_EXEC && type != ET_DYN)
		return 0;
	if (elf->segment_count > PROGRAM_HEADERS_MAX ||
	    elf->segment_size <
		(elf->wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the ELF program headers are malformed");
	return 1;
}

/* --- the dynamic section -------------------------------------------------- */

struct dynamic {
	struct segment segment;
	struct str strings;
};

/* Tag and value number i; false at the end. */
static bool
read_dynamic(const struct elf *elf, const struct segment *segment, size_t i,
    int64_t *tag, uint64_t *value)
{
	size_t size = elf->wide ? sizeof(Elf64_Dyn) : sizeof(Elf32_Dyn);
	const void *bytes;
	Elf64_Dyn wide;
	Elf32_Dyn narrow;

	if ((i + 1) * size > segment->size)
		return false;
	bytes = at(elf, segment->offset + i * size, size);
	if (bytes == NULL)
		return false;
	if (elf->wide) {
		memcpy(&wide, bytes, sizeof(wide));
		*tag = wide.d_tag;
		*value = wide.d_un.d_val;
	} else {
		memcpy(&narrow, bytes, sizeof(narrow));
		*tag = narrow.d_tag;
		*value = narrow.d_un.d_val;
	}
	return *tag != DT_NULL;
}

static int
find_strings(const struct elf *elf, struct dynamic *dynamic, struct error *err)
{
	uint64_t address = 0, size = 0, value, offset;
	int64_t tag;

	for (size_t i = 0;
	     read_dynamic(elf, &dynamic->segment, i, &tag, &value); i++) {
		if (tag == DT_STRTAB)
			address = value;
		else if (tag == DT_STRSZ)
			size = value;
	}
	if (address == 0)
		return 0;
	if (!locate(elf, address, &offset) || at(elf, offset, size) == NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the ELF string table is outside of the file");
	dynamic->strings = (struct str){elf->bytes.data + offset, (size_t)size};
	return 0;
}

static int
take_string(const struct dynamic *dynamic, uint64_t offset, struct str *text,
    struct error *err)
{
	struct str strings = dynamic->strings;
	const char *end;

	if (offset < strings.len) {
		end = memchr(
		    strings.data + offset, '\0', strings.len - (size_t)offset);
		if (end != NULL) {
			*text = (struct str){strings.data + offset,
			    (size_t)(end - (strings.data + offset))};
			return 0;
		}
	}
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "a name is outside of the ELF string table");
}

static int
take_entry(const struct dynamic *dynamic, int64_t tag, uint64_t value,
    struct elf_needed *needed, struct error *err)
{
	if (tag == DT_RPATH)
		return take_string(dynamic, value, &needed->rpath, err);
	if (tag == DT_RUNPATH)
		return take_string(dynamic, value, &needed->runpath, err);
	if (tag != DT_NEEDED)
		return 0;
	if (needed->count == ELF_NEEDED_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "it needs more than %d libraries", ELF_NEEDED_MAX);
	return take_string(
	    dynamic, value, &needed->names[needed->count++], err);
}

static int
read_interpreter(
    const struct elf *elf, struct elf_needed *needed, struct error *err)
{
	struct segment segment;
	const char *text;

	if (!find_segment(elf, PT_INTERP, &segment))
		return 0;
	text = at(elf, segment.offset, segment.size);
	if (text == NULL || segment.size == 0 || text[segment.size - 1] != '\0')
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the ELF interpreter is outside of the file");
	needed->interpreter = str_from(text);
	return 0;
}

int
elf_needed_read(struct str bytes, struct elf_needed *needed, struct error *err)
{
	struct elf elf = {.bytes = bytes};
	struct dynamic dynamic = {.strings = {NULL, 0}};
	uint64_t value;
	int64_t tag;
	int rc;

	*needed = (struct elf_needed){.class = 0};
	rc = read_header(&elf, needed, err);
	if (rc != 1)
		return rc;
	if (!find_segment(&elf, PT_DYNAMIC, &dynamic.segment))
		return 0;
	if (read_interpreter(&elf, needed, err) < 0 ||
	    find_strings(&elf, &dynamic, err) < 0)
		return -1;
	for (size_t i = 0;
	     read_dynamic(&elf, &dynamic.segment, i, &tag, &value); i++) {
		if (take_entry(&dynamic, tag, value, needed, err) < 0)
			return -1;
	}
	return 1;
}
