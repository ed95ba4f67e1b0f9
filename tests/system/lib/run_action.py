# SPDX-License-Identifier: Apache-2.0
"""Run one shell script as a remote action and say how it went.

    run_action.py HOST:PORT SCRIPT [--input NAME=SIZE[x]] [--output PATH]
                  [--property NAME=VALUE] [--timeout SECONDS]
                  [--wait SECONDS] [--retry] [--file NAME=PATH] [--cached]
                  [--target TARGET]

Inputs are SIZE bytes made from their name; "x" makes them executable; --file
gives them a file's contents. Prints `code=` (of the call or of the response),
`exit=`, `worker=`, `cached=`, `trees=` (toolchain roots that the result names),
`message=` (of the status) and `note=` (of the response), the standard output,
and each output as `PATH SIZE`, `PATH -> TARGET` or `PATH/`. With --cached an
earlier result is taken, and this one kept for later. With --retry a call that
breaks is made again, as build tools do.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

import grpc  # noqa: E402
import remote  # noqa: E402

HEADER = "build.bazel.remote.execution.v2.requestmetadata-bin"
BATCH_BYTES = 16 << 20


def content_of(name: str, size: int) -> bytes:
    """The bytes of an input: a script where it is executable."""
    start = f"#!/bin/sh\necho I am {name}\nexit 0\n".encode()
    return (start + b"#" * size)[:size] if size > len(start) else start[:size]


def add_inputs(options: argparse.Namespace, blobs: dict[str, Any]) -> Any:
    """The input root; adds what it needs to the blobs."""
    directory = remote.api.Directory()
    for text in sorted(options.input):
        name, _, size = text.partition("=")
        data = content_of(name, int(size.rstrip("x")))
        digest = remote.digest_of(data)
        blobs[digest.hash] = (digest, data)
        directory.files.add(
            name=name, digest=digest, is_executable=size.endswith("x")
        )
    for text in sorted(options.file):
        name, _, path = text.partition("=")
        data = Path(path).read_bytes()
        digest = remote.digest_of(data)
        blobs[digest.hash] = (digest, data)
        directory.files.add(name=name, digest=digest)
    return add_message(directory, blobs)


def add_message(message: Any, blobs: dict[str, Any]) -> Any:
    """Add an encoded message to the blobs; returns its digest."""
    data = message.SerializeToString(deterministic=True)
    digest = remote.digest_of(data)
    blobs[digest.hash] = (digest, data)
    return digest


def make_action(options: argparse.Namespace, blobs: dict[str, Any]) -> Any:
    """The digest of an action, unless --cached one that has not been run
    before."""
    api = remote.api
    command = api.Command(
        arguments=["/bin/sh", "-c", options.script],
        output_paths=sorted(options.output),
    )
    action = api.Action(
        command_digest=add_message(command, blobs),
        input_root_digest=add_inputs(options, blobs),
        salt=b"" if options.cached else os.urandom(16),
        do_not_cache=not options.cached,
    )
    for text in sorted(options.property):
        name, _, value = text.partition("=")
        action.platform.properties.add(name=name, value=value)
    if options.timeout:
        action.timeout.seconds = options.timeout
    return add_message(action, blobs)


def execute(client: Any, action: Any, options: argparse.Namespace) -> Any:
    """The ExecuteResponse."""
    operation = None
    header = remote.api.RequestMetadata(target_id=options.target)
    call = client.open_execute(
        action,
        options.wait,
        [(HEADER, header.SerializeToString())],
        skip_cache_lookup=not options.cached,
        inline_stdout=True,
    )
    for operation in call:
        pass
    response = remote.api.ExecuteResponse()
    if operation is None or not operation.response.Unpack(response):
        raise SystemExit("the operation ended without a response")
    return response


def upload(client: Any, blobs: dict[str, Any]) -> None:
    """All blobs, in batches that servers take."""
    batch: list[Any] = []
    for digest, data in blobs.values():
        if batch and sum(len(d) for _, d in batch) + len(data) > BATCH_BYTES:
            client.batch_update(batch)
            batch = []
        batch.append((digest, data))
    client.batch_update(batch)


def execute_until(client: Any, options: argparse.Namespace) -> Any:
    """Upload and execute, again if the server went away and --retry."""
    end = time.monotonic() + options.wait
    blobs: dict[str, Any] = {}
    action = make_action(options, blobs)
    while True:
        try:
            upload(client, blobs)
            return execute(client, action, options)
        except grpc.RpcError as error:
            if not options.retry or time.monotonic() > end:
                raise
            print(f"again after {error.code().name}", file=sys.stderr)
            time.sleep(0.2)


def trees_of(metadata: Any) -> str:
    """Digests in the environment that the worker tells of."""
    return " ".join(
        found.decode()
        for message in metadata.auxiliary_metadata
        if message.type_url.endswith(".RunEnvironment")
        for found in re.findall(rb"[0-9a-f]{64}/[0-9]+", message.value)
    )


def show(response: Any) -> None:
    """Print what came back."""
    result = response.result
    code = next(
        c.name for c in grpc.StatusCode if c.value[0] == response.status.code
    )
    print(f"code={code}")
    print(f"exit={result.exit_code}")
    print(f"worker={result.execution_metadata.worker}")
    print(f"cached={response.cached_result}")
    print(f"trees={trees_of(result.execution_metadata)}")
    if response.status.message:
        print(f"message={response.status.message}")
    if response.message:
        print(f"note={response.message}")
    sys.stdout.write(result.stdout_raw.decode())
    for output in result.output_files:
        print(f"{output.path} {output.digest.size_bytes}")
    for link in result.output_symlinks:
        print(f"{link.path} -> {link.target}")
    for directory in result.output_directories:
        print(f"{directory.path}/")


def main() -> int:
    """Returns the exit status: 0 when there was a response."""
    parser = argparse.ArgumentParser()
    parser.add_argument("server")
    parser.add_argument("script")
    parser.add_argument("--input", action="append", default=[])
    parser.add_argument("--output", action="append", default=[])
    parser.add_argument("--file", action="append", default=[])
    parser.add_argument("--cached", action="store_true")
    parser.add_argument("--property", action="append", default=[])
    parser.add_argument("--timeout", type=int, default=0)
    parser.add_argument("--wait", type=float, default=60)
    parser.add_argument("--retry", action="store_true")
    parser.add_argument("--target", default="")
    options = parser.parse_args()
    remote.load_messages()
    client = remote.connect(options.server)
    try:
        show(execute_until(client, options))
    except grpc.RpcError as error:
        print(f"code={error.code().name}\nmessage={error.details()}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
