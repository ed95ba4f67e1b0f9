# SPDX-License-Identifier: Apache-2.0
"""Building actions, running them, and looking at what comes back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc import StatusCode

from .context import Context, platform_of
from .digests import text
from .harness import (
    Failure,
    attempt,
    expect,
    expect_code,
    expect_equal,
)
from .messages import api, rpc

MAX_UPDATES = 10_000
PATH = "/usr/local/bin:/usr/bin:/bin"
_CODES = {code.value[0]: code for code in StatusCode}


@dataclass(frozen=True)
class File:
    """A file of an input tree."""

    data: bytes
    executable: bool = False


@dataclass(frozen=True)
class Link:
    """A symbolic link of an input tree."""

    target: str


# Names to bytes, File, Link or another dict for a subdirectory.
Tree = dict[str, Any]


@dataclass
class Blobs:
    """Encoded blobs, kept by hash until they are stored."""

    context: Context
    data: dict[str, bytes] = field(default_factory=dict)

    def add(self, data: bytes) -> Any:
        """Keep a blob; returns its digest."""
        digest = self.context.digest(data)
        self.data[digest.hash] = data
        return digest

    def add_message(self, message: Any) -> Any:
        """Keep the encoding of a message; returns its digest."""
        return self.add(message.SerializeToString(deterministic=True))

    def add_tree(self, tree: Tree) -> Any:
        """Keep a tree's files and directories; returns its root digest."""
        directory = api.Directory()
        for name, entry in sorted(
            tree.items(), key=lambda item: item[0].encode()
        ):
            if isinstance(entry, dict):
                directory.directories.add(
                    name=name, digest=self.add_tree(entry)
                )
            elif isinstance(entry, Link):
                directory.symlinks.add(name=name, target=entry.target)
            else:
                file = entry if isinstance(entry, File) else File(entry)
                directory.files.add(
                    name=name,
                    digest=self.add(file.data),
                    is_executable=file.executable,
                )
        return self.add_message(directory)

    def store(self, leave_out: Iterable[Any] = ()) -> None:
        """Upload what is kept, without the digests to leave out."""
        absent = {digest.hash for digest in leave_out}
        self.context.put_all(
            [data for key, data in self.data.items() if key not in absent]
        )


@dataclass
class Job:
    """An action in the making; the salt keeps runs of the suite apart."""

    context: Context
    script: str = ""
    arguments: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    inputs: Tree = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    command_fields: dict[str, Any] = field(default_factory=dict)
    timeout: float = 0
    do_not_cache: bool = False
    platform: Any = None

    def command(self) -> Any:
        """The Command message."""
        arguments = self.arguments or [
            self.context.settings.shell,
            "-c",
            self.script,
        ]
        command = api.Command(
            arguments=arguments,
            output_paths=sorted(self.outputs),
            **self.command_fields,
        )
        for name, value in sorted(self.environment.items()):
            command.environment_variables.add(name=name, value=value)
        command.platform.CopyFrom(self._platform())
        return command

    def _platform(self) -> Any:
        if self.platform is not None:
            return self.platform
        return platform_of(self.context.settings)

    def action(self, command: Any, root: Any) -> Any:
        """The Action message for stored parts."""
        action = api.Action(
            command_digest=command,
            input_root_digest=root,
            do_not_cache=self.do_not_cache,
            salt=self.context.fresh(16),
        )
        if self.timeout:
            action.timeout.seconds = int(self.timeout)
            action.timeout.nanos = int(self.timeout % 1 * 1e9)
        action.platform.CopyFrom(self._platform())
        return action

    def store(self) -> Any:
        """Upload everything; returns the action's digest."""
        blobs = Blobs(self.context)
        root = blobs.add_tree(self.inputs)
        command = blobs.add_message(self.command())
        digest = blobs.add_message(self.action(command, root))
        blobs.store()
        return digest

    def run(self, **fields: Any) -> Run:
        """Upload and execute."""
        return execute(self.context, self.store(), **fields)


@dataclass
class Run:
    """What an execution answered."""

    context: Context
    operations: list[Any]
    stream_code: StatusCode
    code: StatusCode
    message: str
    details: list[Any]
    response: Any

    @property
    def result(self) -> Any:
        """The ActionResult."""
        return self.response.result

    def missing(self) -> list[str]:
        """Subjects of the MISSING violations, sorted."""
        found = []
        for detail in self.details:
            if not detail.type_url.endswith("/google.rpc.PreconditionFailure"):
                continue
            failure = rpc.PreconditionFailure.FromString(detail.value)
            found += [
                each.subject
                for each in failure.violations
                if each.type == "MISSING"
            ]
        return sorted(found)

    def expect_code(self, *wanted: StatusCode, what: str = "") -> None:
        """Fail unless the execution ended with one of the statuses."""
        expect_code(self.code, wanted, what or "the execution", self.message)

    def expect_success(self) -> Run:
        """Fail unless the command ran and left with 0."""
        self.expect_code(StatusCode.OK)
        if self.result.exit_code != 0:
            raise Failure(
                f"exit code {self.result.exit_code}: {self.stderr()!r}"
            )
        return self

    def stdout(self) -> bytes:
        """Standard output, wherever the server put it."""
        return self._stream(self.result.stdout_raw, self.result.stdout_digest)

    def stderr(self) -> bytes:
        """Standard error, wherever the server put it."""
        return self._stream(self.result.stderr_raw, self.result.stderr_digest)

    def _stream(self, raw: bytes, digest: Any) -> bytes:
        if raw or not digest.hash:
            return raw
        return self.context.get(digest)

    def file(self, path: str) -> Any:
        """The OutputFile of a path; fails when there is none."""
        for each in self.result.output_files:
            if each.path == path:
                return each
        raise Failure(
            f"no output file {path!r} among "
            f"{[each.path for each in self.result.output_files]}"
        )

    def data(self, path: str) -> bytes:
        """The content of an output file, read from the CAS."""
        return self.context.get(self.file(path).digest)

    def directory(self, path: str) -> Any:
        """The OutputDirectory of a path; fails when there is none."""
        for each in self.result.output_directories:
            if each.path == path:
                return each
        raise Failure(f"no output directory {path!r}")

    def tree(self, path: str) -> Any:
        """The Tree of an output directory."""
        digest = self.directory(path).tree_digest
        return api.Tree.FromString(self.context.get(digest))

    def paths(self) -> list[str]:
        """All output paths, of whatever kind, sorted."""
        result = self.result
        return sorted(
            {
                each.path
                for kind in (
                    result.output_files,
                    result.output_directories,
                    result.output_symlinks,
                    result.output_file_symlinks,
                    result.output_directory_symlinks,
                )
                for each in kind
            }
        )


def execute(context: Context, action: Any, **fields: Any) -> Run:
    """Call Execute and wait for its end."""
    call = context.client.open_execute(
        action, context.settings.execute_deadline, **fields
    )
    return collect(context, call)


def collect(context: Context, call: Any) -> Run:
    """Read a stream of operations to its end."""
    operations = []
    stream_code, message = StatusCode.OK, ""
    details: list[Any] = []
    try:
        for operation in call:
            operations.append(operation)
            expect(len(operations) < MAX_UPDATES, "the stream never ends")
    except grpc.RpcError as error:
        stream_code, message = error.code(), error.details() or ""
        details = _status_details(error)
    response = api.ExecuteResponse()
    code = stream_code
    if operations and operations[-1].done:
        operations[-1].response.Unpack(response)
        if stream_code == StatusCode.OK:
            code = _CODES[response.status.code]
            message = response.status.message
            details = list(response.status.details)
    elif stream_code == StatusCode.OK:
        raise Failure("the stream ended without a finished operation")
    return Run(
        context, operations, stream_code, code, message, details, response
    )


def _status_details(error: Any) -> list[Any]:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return list(rpc.Status.FromString(value).details)
    return []


def subject(digest: Any) -> str:
    """The subject of a MISSING violation for a digest."""
    return f"blobs/{text(digest)}"


def expect_missing(run: Run, digests: Iterable[Any]) -> None:
    """Fail unless the run names exactly these blobs as missing."""
    run.expect_code(StatusCode.FAILED_PRECONDITION)
    expect_equal(
        run.missing(),
        sorted(subject(each) for each in digests),
        "subjects of MISSING violations",
    )


def start(context: Context, script: str, **fields: Any) -> tuple[Any, str]:
    """Start an action; the open call and the operation's name."""
    call = context.client.open_execute(
        Job(context, script, **fields).store(),
        context.settings.execute_deadline,
    )
    return call, next(call).name


def abandon(context: Context, call: Any, name: str) -> None:
    """Leave an execution, and end it where the server can cancel."""
    attempt(lambda: context.client.cancel_operation(name))
    call.cancel()
