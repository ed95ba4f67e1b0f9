/* SPDX-License-Identifier: Apache-2.0 */
int tide_minute(int day);
