/* SPDX-License-Identifier: Apache-2.0 */
/* `toolroot doctor`: what works here, what does not, and what to do about it.
 * It stands with the worker, whose sandbox it tries. Main thread. */
#ifndef TOOLROOT_WORKER_DOCTOR_COMMAND_H
#define TOOLROOT_WORKER_DOCTOR_COMMAND_H

/* argv[0] is "doctor". Returns the exit status: 1 when a check failed. */
int doctor_command(char **argv);

#endif
