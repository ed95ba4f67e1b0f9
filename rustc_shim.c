/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program toolroot-rustc, which cargo calls in the compiler's place. A
 * program of its own, and small: it starts once for each crate, and loading
 * the libraries of the large one would take longer than all that it does.
 */
#include "client/cargo_shim.h"

int
main(int argc, char **argv)
{
	(void)argc;
	return cargo_shim_main(argv);
}
