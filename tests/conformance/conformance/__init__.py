# SPDX-License-Identifier: Apache-2.0
"""A conformance suite for servers of the Remote Execution API, version 2."""
