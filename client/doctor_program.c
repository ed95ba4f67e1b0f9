/* SPDX-License-Identifier: Apache-2.0 */
/* Headers by <elf.h> and the machine code of two system calls. */
#include "client/doctor_program.h"

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)

#define BASE 0x400000
#define LENGTH ((uint8_t)(sizeof(DOCTOR_PROGRAM_OUTPUT) - 1))
#define CODE_SIZE 34
#define TEXT_SIZE (sizeof(DOCTOR_PROGRAM_OUTPUT) - 1)

struct program {
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	uint8_t code[CODE_SIZE];
	char text[TEXT_SIZE + 1];
};

static const struct program program = {
    .header =
	{
	    .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
		ELFDATA2LSB, EV_CURRENT, ELFOSABI_SYSV},
	    .e_type = ET_EXEC,
	    .e_machine = EM_X86_64,
	    .e_version = EV_CURRENT,
	    .e_entry = BASE + offsetof(struct program, code),
	    .e_phoff = offsetof(struct program, segment),
	    .e_ehsize = sizeof(Elf64_Ehdr),
	    .e_phentsize = sizeof(Elf64_Phdr),
	    .e_phnum = 1,
	},
    .segment =
	{
	    .p_type = PT_LOAD,
	    .p_flags = PF_R | PF_X,
	    .p_vaddr = BASE,
	    .p_paddr = BASE,
	    .p_filesz = offsetof(struct program, text) + TEXT_SIZE,
	    .p_memsz = offsetof(struct program, text) + TEXT_SIZE,
	    .p_align = 0x1000,
	},
    .code =
	{
	    0xb8, 1, 0, 0, 0,              /* mov eax, SYS_write */
	    0xbf, 1, 0, 0, 0,              /* mov edi, 1 */
	    0x48, 0x8d, 0x35, 17, 0, 0, 0, /* lea rsi, [rip + 17]: text */
	    0xba, LENGTH, 0, 0, 0,         /* mov edx, LENGTH */
	    0x0f, 0x05,                    /* syscall */
	    0xb8, 60, 0, 0, 0,             /* mov eax, SYS_exit */
	    0x31, 0xff,                    /* xor edi, edi */
	    0x0f, 0x05,                    /* syscall */
	    0x90,                          /* nop */
	},
    .text = DOCTOR_PROGRAM_OUTPUT,
};

struct str
doctor_program(void)
{
	return (struct str){
	    (const char *)&program, offsetof(struct program, text) + TEXT_SIZE};
}

#else

struct str
doctor_program(void)
{
	return (struct str){"", 0};
}

#endif
