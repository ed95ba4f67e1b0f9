# SPDX-License-Identifier: Apache-2.0
"""Rules about how a command is run and what it leaves: exit code, output
streams, arguments, environment, metadata."""

from __future__ import annotations

from dataclasses import replace

from grpc import StatusCode

from .context import Context
from .execute import PATH, Blobs, File, Job, execute
from .harness import Group, Skip, expect, expect_equal
from .messages import api

group = Group("execution")
ARGUMENTS = "Command.arguments"
SCRIPT = b'#!/bin/sh\necho script "$@"\n'


@group.must(
    "EXE-CMD-01",
    "The exit code is the command's, and another than "
    "0 is no error of the execution",
    spec="ActionResult.exit_code",
)
def exit_code_is_returned(context: Context) -> None:
    context.need_execution()
    for code in (0, 1, 77, 255):
        run = Job(context, f"exit {code}").run()
        run.expect_code(StatusCode.OK)
        expect_equal(run.result.exit_code, code, "exit_code")


@group.practice(
    "EXE-CMD-02",
    "A command ended by a signal has an exit code other than 0",
    spec="ActionResult.exit_code",
)
def signals_are_failures(context: Context) -> None:
    context.need_execution()
    run = Job(context, "kill -9 $$").run()
    run.expect_code(StatusCode.OK)
    expect(run.result.exit_code != 0, "exit_code is 0")


@group.practice(
    "EXE-CMD-03",
    "A command that does not exist is an error, "
    "or has an exit code other than 0",
    spec=ARGUMENTS,
)
def absent_command_fails(context: Context) -> None:
    context.need_execution()
    run = Job(context, arguments=["./no/such/command"]).run()
    expect(run.code != StatusCode.DEADLINE_EXCEEDED, "the execution hangs")
    expect(
        run.code != StatusCode.OK or run.result.exit_code != 0,
        "the command succeeded",
    )


@group.must(
    "EXE-CMD-04", "Arguments reach the command byte for byte", spec=ARGUMENTS
)
def arguments_are_exact(context: Context) -> None:
    context.need_execution()
    given = [
        "",
        " two  blanks ",
        "line\nbreak",
        "$HOME `x` \"q\" 'q'",
        "*",
        "caf\u00e9 \u2713",
        "-n",
    ]
    shell = context.settings.shell
    run = (
        Job(
            context,
            arguments=[
                shell,
                "-c",
                'for a in "$@"; do printf \'<%s>\' "$a"; done',
                "name",
                *given,
            ],
        )
        .run()
        .expect_success()
    )
    wanted = "".join(f"<{each}>" for each in given).encode()
    expect_equal(run.stdout(), wanted, "standard output")


@group.must(
    "EXE-CMD-05",
    "A command with a slash is relative to the working directory",
    spec=ARGUMENTS,
)
def relative_command_is_found(context: Context) -> None:
    context.need_execution()
    inputs = {"work": {"bin": {"tool": File(SCRIPT, True)}}}
    run = Job(
        context,
        arguments=["bin/tool", "a"],
        inputs=inputs,
        command_fields={"working_directory": "work"},
    ).run()
    expect_equal(
        run.expect_success().stdout(), b"script a\n", "standard output"
    )


@group.should(
    "EXE-CMD-06",
    "A command without a slash is looked up in the "
    "PATH of its own environment",
    spec=ARGUMENTS,
)
def path_is_respected(context: Context) -> None:
    context.need_execution()
    shell = context.settings.shell
    name = shell.rsplit("/", 1)[-1]
    directory = shell.rsplit("/", 1)[0] or "/"
    run = Job(
        context,
        arguments=[name, "-c", "echo found"],
        environment={"PATH": directory},
    ).run()
    expect_equal(run.expect_success().stdout(), b"found\n", "standard output")


@group.must(
    "EXE-ENV-01",
    "Variables reach the command as they are",
    spec="Command.environment_variables",
)
def environment_is_exact(context: Context) -> None:
    context.need_execution()
    given = {
        "PATH": PATH,
        "A": "1",
        "B": " blanks \n and = signs",
        "EMPTY": "",
        "CAF\u00c9": "\u2713",
    }
    run = Job(
        context,
        'printf \'<%s><%s><%s>\' "$A" "$B" "${EMPTY-unset}"',
        environment=given,
    ).run()
    expect_equal(
        run.expect_success().stdout(),
        b"<1>< blanks \n and = signs><>",
        "standard output",
    )


@group.practice(
    "EXE-ENV-02",
    "No variable of the worker itself leaks into the action",
    spec="Command.environment_variables",
)
def environment_does_not_leak(context: Context) -> None:
    context.need_execution()
    first = Job(context, "env | sort").run().expect_success().stdout()
    names = {line.split(b"=")[0] for line in first.splitlines()}
    known = {
        b"PATH",
        b"PWD",
        b"OLDPWD",
        b"SHLVL",
        b"_",
        b"HOME",
        b"TMPDIR",
        b"TEMP",
        b"TMP",
        b"USER",
        b"LANG",
        b"LC_ALL",
        b"TZ",
        b"LOGNAME",
    }
    expect(names <= known, f"also set: {sorted(names - known)}")


@group.must(
    "EXE-OUT-01",
    "Standard output and standard error are returned apart and whole",
    spec="ActionResult.stdout_raw, stdout_digest, stderr_raw, stderr_digest",
)
def streams_are_returned(context: Context) -> None:
    context.need_execution()
    run = Job(context, "echo out; echo err >&2").run().expect_success()
    expect_equal(run.stdout(), b"out\n", "standard output")
    expect_equal(run.stderr(), b"err\n", "standard error")
    run = Job(context, "echo out; echo err >&2; exit 3").run()
    expect_equal(run.stdout(), b"out\n", "standard output of a failure")
    expect_equal(run.stderr(), b"err\n", "standard error of a failure")


@group.must(
    "EXE-OUT-02",
    "A large standard output is whole, and the answer stays receivable",
    spec="ActionResult.stdout_digest",
)
def large_stream_is_returned(context: Context) -> None:
    context.need_execution()
    size = 6_000_000
    run = Job(context, f"head -c {size} /dev/zero | tr '\\0' x").run(
        inline_stdout=True
    )
    expect(
        run.expect_success().stdout() == b"x" * size, "standard output differs"
    )


@group.should(
    "EXE-OUT-03",
    "Nothing is inlined that was not asked for",
    spec="ActionResult.stdout_raw, stderr_raw, OutputFile.contents",
)
def nothing_is_inlined_unasked(context: Context) -> None:
    context.need_execution()
    run = (
        Job(
            context, "echo out; echo err >&2; echo file > out", outputs=["out"]
        )
        .run()
        .expect_success()
    )
    expect_equal(run.result.stdout_raw, b"", "stdout_raw")
    expect_equal(run.result.stderr_raw, b"", "stderr_raw")
    expect_equal(run.file("out").contents, b"", "contents")


@group.must(
    "EXE-OUT-04",
    "What is inlined on request is the data",
    spec="ExecuteRequest.inline_stdout, inline_stderr, inline_output_files",
)
def inlined_data_is_right(context: Context) -> None:
    context.need_execution()
    run = (
        Job(
            context, "echo out; echo err >&2; echo file > out", outputs=["out"]
        )
        .run(
            inline_stdout=True, inline_stderr=True, inline_output_files=["out"]
        )
        .expect_success()
    )
    expect_equal(run.stdout(), b"out\n", "standard output")
    expect_equal(run.stderr(), b"err\n", "standard error")
    expect(run.file("out").contents in (b"", b"file\n"), "contents differ")
    expect_equal(run.data("out"), b"file\n", "the output file")


@group.practice(
    "EXE-MET-01",
    "The result names its worker, and its timestamps are in order",
    spec="ActionResult.execution_metadata",
)
def metadata_is_in_order(context: Context) -> None:
    context.need_execution()
    run = Job(context, "true").run().expect_success()
    metadata = run.result.execution_metadata
    expect(metadata.worker != "", "worker is empty")
    names = (
        "queued",
        "worker_start",
        "input_fetch_start",
        "input_fetch_completed",
        "execution_start",
        "execution_completed",
        "output_upload_start",
        "output_upload_completed",
        "worker_completed",
    )
    last, before = (0, 0), ""
    for name in names:
        field = f"{name}_timestamp"
        expect(metadata.HasField(field), f"{field} is unset")
        stamp = getattr(metadata, field)
        value = (stamp.seconds, stamp.nanos)
        expect(value >= last, f"{field} is before {before}")
        last, before = value, field


@group.must(
    "EXE-DIG-01",
    "An action runs under each announced digest "
    "function, and all digests of its result are of that function",
    spec="ExecutionCapabilities.digest_functions",
)
def every_function_executes(context: Context) -> None:
    context.need_execution()
    announced = list(context.execution.digest_functions) or [
        context.execution.digest_function
    ]
    for function in context.functions():
        if function not in announced:
            continue
        job = Job(
            replace(context, function=function),
            "cat in > out; mkdir dir; echo x > dir/x; echo text",
            inputs={"in": b"input"},
            outputs=["dir", "out"],
        )
        length = len(job.context.digest(b"").hash)
        for named in (0, function):
            run = job.run(digest_function=named).expect_success()
            expect_equal(run.data("out"), b"input", "the output file")
            result = run.result
            hashes = [
                run.file("out").digest.hash,
                run.directory("dir").tree_digest.hash,
                result.stdout_digest.hash,
                result.stderr_digest.hash,
            ]
            for value in hashes:
                expect(
                    len(value) in (0, length),
                    f"hash {value!r} under digest function {function}",
                )


@group.must(
    "EXE-DIG-02",
    "An action whose inputs have digests of another function is refused",
    spec="ExecutionCapabilities.digest_functions",
)
def mixed_functions_are_refused(context: Context) -> None:
    context.need_execution()
    others = [each for each in context.functions() if each != context.function]
    if not others:
        raise Skip("one digest function is announced")
    other = replace(context, function=others[0]).put(context.fresh())
    root = api.Directory()
    root.files.add(name="in", digest=other)
    job = Job(context, "cat in")
    blobs = Blobs(context)
    command = blobs.add_message(job.command())
    action = blobs.add_message(job.action(command, blobs.add_message(root)))
    blobs.store()
    execute(context, action).expect_code(
        StatusCode.INVALID_ARGUMENT, StatusCode.FAILED_PRECONDITION
    )


@group.must(
    "EXE-MET-02",
    "The virtual duration is that of the command, by the clock of its timeout",
    spec="ExecutedActionMetadata.virtual_execution_duration",
)
def duration_is_the_commands(context: Context) -> None:
    context.need_execution()
    timeout = 15
    run = Job(context, "sleep 1", timeout=timeout).run().expect_success()
    metadata = run.result.execution_metadata
    if not metadata.HasField("virtual_execution_duration"):
        raise Skip("virtual_execution_duration is unset")
    took = metadata.virtual_execution_duration
    seconds = took.seconds + took.nanos / 1e9
    expect(
        0.95 <= seconds <= timeout,
        f"{seconds} s for a sleep of 1 s that may take {timeout} s",
    )


@group.must(
    "EXE-OUT-05",
    "A stream that is named for an output can be read, and has it",
    spec="ExecuteOperationMetadata.stdout_stream_name, stderr_stream_name",
)
def named_streams_can_be_read(context: Context) -> None:
    context.need_execution()
    script = "echo out; echo err >&2; sleep 1; echo more"
    call = context.client.open_execute(
        Job(context, script).store(), context.settings.execute_deadline
    )
    names: dict[str, str] = {}
    for operation in call:
        metadata = api.ExecuteOperationMetadata()
        operation.metadata.Unpack(metadata)
        if metadata.stdout_stream_name:
            names["out\nmore\n"] = metadata.stdout_stream_name
        if metadata.stderr_stream_name:
            names["err\n"] = metadata.stderr_stream_name
        if names:
            break
    if not names:
        raise Skip("no update names a stream")
    for wanted, name in names.items():
        expect_equal(context.client.read(name), wanted.encode(), name)
    for _ in call:
        pass


@group.must(
    "EXE-LOG-01", "Logs of a response are in the CAS", spec="LogFile.digest"
)
def server_logs_are_stored(context: Context) -> None:
    context.need_execution()
    runs = [Job(context, script).run() for script in ("true", "exit 3")]
    logs = [each for run in runs for each in run.response.server_logs.values()]
    if not logs:
        raise Skip("no response has server_logs")
    digests = [each.digest for each in logs]
    expect_equal(context.client.find_missing(digests), [], "missing logs")
