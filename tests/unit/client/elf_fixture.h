/* SPDX-License-Identifier: Apache-2.0 */
/* Small ELF files made to measure: header, program headers, dynamic section,
 * strings, all in one loaded segment at address 0. For tests only. */
#ifndef TOOLROOT_TESTS_ELF_FIXTURE_H
#define TOOLROOT_TESTS_ELF_FIXTURE_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ELF_FIXTURE_SIZE 1024
#define ELF_FIXTURE_DYNAMIC 256
#define ELF_FIXTURE_STRINGS 512

/* NULL = none. */
struct elf_fixture {
	const char *interpreter;
	const char *rpath;
	const char *runpath;
	const char *needed[4];
	uint16_t machine; /* 0: EM_X86_64 */
};

struct elf_fixture_writer {
	unsigned char *bytes;
	size_t dynamic; /* entries so far */
	size_t strings; /* bytes so far */
};

static inline size_t
elf_fixture_string(struct elf_fixture_writer *writer, const char *text)
{
	size_t at = writer->strings;

	memcpy(
	    writer->bytes + ELF_FIXTURE_STRINGS + at, text, strlen(text) + 1);
	writer->strings += strlen(text) + 1;
	return at;
}

static inline void
elf_fixture_entry(
    struct elf_fixture_writer *writer, int64_t tag, uint64_t value)
{
	Elf64_Dyn entry = {.d_tag = tag, .d_un = {.d_val = value}};

	memcpy(writer->bytes + ELF_FIXTURE_DYNAMIC +
		   writer->dynamic++ * sizeof(entry),
	    &entry, sizeof(entry));
}

static inline void
elf_fixture_text(
    struct elf_fixture_writer *writer, int64_t tag, const char *text)
{
	if (text != NULL)
		elf_fixture_entry(
		    writer, tag, elf_fixture_string(writer, text));
}

static inline void
elf_fixture_headers(const struct elf_fixture *elf,
    struct elf_fixture_writer *writer, size_t interpreter)
{
	size_t interpreter_size =
	    elf->interpreter != NULL ? strlen(elf->interpreter) + 1 : 0;
	Elf64_Ehdr header = {.e_type = ET_DYN,
	    .e_machine = elf->machine != 0 ? elf->machine : EM_X86_64,
	    .e_phoff = sizeof(Elf64_Ehdr),
	    .e_phentsize = sizeof(Elf64_Phdr),
	    .e_phnum = elf->interpreter != NULL ? 3 : 2};
	Elf64_Phdr segments[3] = {
	    {.p_type = PT_LOAD, .p_filesz = ELF_FIXTURE_SIZE},
	    {.p_type = PT_DYNAMIC,
		.p_offset = ELF_FIXTURE_DYNAMIC,
		.p_filesz = writer->dynamic * sizeof(Elf64_Dyn)},
	    {.p_type = PT_INTERP,
		.p_offset = ELF_FIXTURE_STRINGS + interpreter,
		.p_filesz = interpreter_size}};

	memcpy(header.e_ident, ELFMAG, SELFMAG);
	header.e_ident[EI_CLASS] = ELFCLASS64;
	header.e_ident[EI_DATA] = ELFDATA2LSB;
	memcpy(writer->bytes, &header, sizeof(header));
	memcpy(writer->bytes + sizeof(header), segments, sizeof(segments));
}

static inline void
elf_fixture_make(
    const struct elf_fixture *elf, unsigned char bytes[static ELF_FIXTURE_SIZE])
{
	struct elf_fixture_writer writer = {bytes, 0, 1};
	size_t interpreter = 0;

	memset(bytes, 0, ELF_FIXTURE_SIZE);
	if (elf->interpreter != NULL)
		interpreter = elf_fixture_string(&writer, elf->interpreter);
	for (size_t i = 0; i < 4; i++)
		elf_fixture_text(&writer, DT_NEEDED, elf->needed[i]);
	elf_fixture_text(&writer, DT_RPATH, elf->rpath);
	elf_fixture_text(&writer, DT_RUNPATH, elf->runpath);
	elf_fixture_entry(&writer, DT_STRTAB, ELF_FIXTURE_STRINGS);
	elf_fixture_entry(&writer, DT_STRSZ, 512);
	elf_fixture_entry(&writer, DT_NULL, 0);
	elf_fixture_headers(elf, &writer, interpreter);
}

#endif
