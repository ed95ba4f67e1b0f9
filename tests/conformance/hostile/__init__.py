# SPDX-License-Identifier: Apache-2.0
"""Bad input, each with the status it deserves, and a server that goes on."""
