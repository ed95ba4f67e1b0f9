/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What those who ask for early outputs, make them and hand them on agree upon;
 * see EarlyOutputs in worker.proto. An action asks by the platform property:
 * its value is a list, separated by commas, of how the paths of such outputs
 * end, ".d,.rmeta" for instance. It is part of the action's key.
 */
#ifndef TOOLROOT_PROTOS_EARLY_OUTPUTS_H
#define TOOLROOT_PROTOS_EARLY_OUTPUTS_H

#define EARLY_OUTPUTS_PROPERTY "early-outputs"
/* Of the Any that clients get. */
#define EARLY_OUTPUTS_TYPE "type.googleapis.com/toolroot.worker.v1.EarlyOutputs"
/* In the list; those above ask for nothing. */
#define EARLY_OUTPUTS_ENDS_MAX 16
/* Of an encoded EarlyOutputs without its lease. */
#define EARLY_OUTPUTS_BYTES_MAX 8192
/* Of an action; what is above comes with the result. */
#define EARLY_OUTPUTS_FILES_MAX 16
/* Bytes of one; larger ones come with the result. */
#define EARLY_OUTPUTS_FILE_MAX ((uint64_t)256 << 20)

#endif
