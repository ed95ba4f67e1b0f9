#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lists what a Bazel build really ran, without the cache hits.

Reads the file that --execution_log_json_file names, which is a row of JSON
objects, and prints a line "MNEMONIC OUTPUT" for each process. Of several
outputs it prints the last by name, which for a compiler is the object file;
for a test it prints the directory of its log.
"""

import json
import os
import sys


def objects(text):
    decoder = json.JSONDecoder()
    text = text.strip()
    position = 0
    while position < len(text):
        value, position = decoder.raw_decode(text, position)
        yield value
        while position < len(text) and text[position].isspace():
            position += 1


def name(spawn):
    output = max(spawn["listedOutputs"])
    if spawn["mnemonic"] == "TestRunner":
        output = os.path.dirname(output)
    return output.removeprefix("bazel-out/").removeprefix("k8-fastbuild/")


def main():
    with open(sys.argv[1], encoding="utf-8") as log:
        for spawn in objects(log.read()):
            if not spawn.get("remoteCacheHit"):
                print(spawn["mnemonic"], name(spawn))


main()
