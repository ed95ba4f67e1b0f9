/* SPDX-License-Identifier: Apache-2.0 */
/* The two clocks: one that only goes forward, for deadlines, and the wall's,
 * for what people and stores read. Any thread. */
#ifndef TOOLROOT_BASE_CLOCK_H
#define TOOLROOT_BASE_CLOCK_H

#include <stdint.h>

/* Never. Later than any deadline. */
#define CLOCK_NEVER INT64_MAX

/* Milliseconds of CLOCK_MONOTONIC. */
int64_t clock_monotonic_ms(void);
/* Nanoseconds of CLOCK_MONOTONIC. */
int64_t clock_monotonic_ns(void);
/* Nanoseconds since 1970-01-01T00:00:00Z. */
int64_t clock_wall_ns(void);

#endif
