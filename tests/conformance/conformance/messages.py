# SPDX-License-Identifier: Apache-2.0
"""Message classes, made at run time from .proto files by protoc.

No generated code is kept: protoc writes a descriptor set into a temporary
folder, and classes are looked up in it by their full names. That needs no
gRPC plug-in, and cannot clash with the `google` package of python3-protobuf.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

OWN_PROTOS = Path(__file__).resolve().parent.parent / "protos"
API_FILES = (
    "build/bazel/remote/execution/v2/remote_execution.proto",
    "google/bytestream/bytestream.proto",
    "google/longrunning/operations.proto",
    "google/rpc/status.proto",
    "google/protobuf/any.proto",
    "google/protobuf/descriptor.proto",
    "google/protobuf/empty.proto",
)
OWN_FILES = ("error_details.proto", "health.proto", "reflection.proto")
SYSTEM_INCLUDES = ("/usr/include", "/usr/local/include")

_pool = descriptor_pool.DescriptorPool()
_classes: dict[str, Any] = {}


class ProtoError(Exception):
    """The .proto files are absent, or protoc refuses them."""


def load(folders: Sequence[Path]) -> None:
    """Compile the API's files found below `folders` and the suite's own."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as scratch:
        output = Path(scratch) / "descriptors.pb"
        includes = [*folders, OWN_PROTOS]
        includes += [Path(name) for name in SYSTEM_INCLUDES]
        command = [
            "protoc",
            "--include_imports",
            f"--descriptor_set_out={output}",
        ]
        command += [f"-I{folder}" for folder in includes if folder.is_dir()]
        command += [*API_FILES, *OWN_FILES]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        except FileNotFoundError as error:
            raise ProtoError("protoc is not installed") from error
        if done.returncode != 0:
            raise ProtoError(done.stderr.strip())
        files = descriptor_pb2.FileDescriptorSet()
        files.ParseFromString(output.read_bytes())
    for file in files.file:
        _pool.AddSerializedFile(file.SerializeToString())


def message_class(full_name: str) -> Any:
    """The class of the message with this full name."""
    if full_name not in _classes:
        descriptor = _pool.FindMessageTypeByName(full_name)
        if hasattr(message_factory, "GetMessageClass"):
            found = message_factory.GetMessageClass(descriptor)
        else:
            found = message_factory.MessageFactory(_pool).GetPrototype(
                descriptor
            )
        _classes[full_name] = found
    return _classes[full_name]


class Package:
    """Attribute access to the messages of one proto package."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, message: str) -> Any:
        if message.startswith("_"):
            raise AttributeError(message)
        return message_class(f"{self._name}.{message}")


api = Package("build.bazel.remote.execution.v2")
bytestream = Package("google.bytestream")
longrunning = Package("google.longrunning")
rpc = Package("google.rpc")
health = Package("grpc.health.v1")
reflection = Package("grpc.reflection.v1")
protobuf = Package("google.protobuf")
