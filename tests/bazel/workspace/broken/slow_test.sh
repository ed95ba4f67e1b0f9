#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
echo "waiting for the tide"
sleep 50
