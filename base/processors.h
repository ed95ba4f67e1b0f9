/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many processors this process may use: those it is bound to, or fewer when
 * its control group has a share of them alone, as in a container. Any thread.
 */
#ifndef TOOLROOT_BASE_PROCESSORS_H
#define TOOLROOT_BASE_PROCESSORS_H

#include "base/str.h"

/* At least 1. */
unsigned processors_available(void);
/* Of the text of a control group's cpu.max, "QUOTA PERIOD": whole processors,
 * at least 1; 0 when that is no limit. Pure. */
unsigned processors_of_quota(struct str text);

#endif
