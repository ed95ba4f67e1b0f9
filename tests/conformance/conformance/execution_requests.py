# SPDX-License-Identifier: Apache-2.0
"""Rules of Execute about requests that cannot be carried out."""

from __future__ import annotations

from typing import Any

from grpc import StatusCode

from .context import Context
from .digests import with_size
from .execute import Blobs, Job, Link, Run, execute, expect_missing
from .harness import Group, Skip, expect
from .messages import api

group = Group("execution")
EXECUTE = "Execution.Execute"
MISSING = EXECUTE + ", on missing blobs"
INVALID = EXECUTE + ", INVALID_ARGUMENT"
DISALLOWED = 1
LONGEST_SECONDS = 315_576_000_000


@group.should(
    "EXE-MIS-01",
    "An absent action is FAILED_PRECONDITION, with a MISSING violation",
    spec=MISSING,
)
def absent_action(context: Context) -> None:
    context.need_execution()
    digest = context.absent()
    expect_missing(execute(context, digest), [digest])


@group.should(
    "EXE-MIS-02",
    "An absent command is FAILED_PRECONDITION, with a MISSING violation",
    spec=MISSING,
)
def absent_command(context: Context) -> None:
    context.need_execution()
    _try_without(context, ["command"])


@group.should(
    "EXE-MIS-03",
    "An absent input root is FAILED_PRECONDITION, with a MISSING violation",
    spec=MISSING,
)
def absent_input_root(context: Context) -> None:
    context.need_execution()
    _try_without(context, ["root"])


@group.should(
    "EXE-MIS-04",
    "An absent input file is FAILED_PRECONDITION, with a MISSING violation",
    spec=MISSING,
)
def absent_input_file(context: Context) -> None:
    context.need_execution()
    _try_without(context, ["one"])


@group.should(
    "EXE-MIS-05",
    "Each of several absent blobs has a violation of "
    "its own: files, a directory, the command",
    spec=MISSING,
)
def several_absent_blobs(context: Context) -> None:
    context.need_execution()
    _try_without(context, ["one", "two", "directory", "command"])


@group.must(
    "EXE-MIS-06",
    "An action's digest with another size is not that action",
    spec="Digest, on the size as a part of it",
)
def action_of_another_size(context: Context) -> None:
    context.need_execution()
    digest = with_size(Job(context, "echo never").store(), 7)
    expect_missing(execute(context, digest), [digest])


def _try_without(context: Context, leave_out: list[str]) -> None:
    """Execute an action of which some parts were never uploaded."""
    blobs = Blobs(context)
    one, two, three = (context.fresh() for _ in range(3))
    parts = {
        "root": blobs.add_tree(
            {"a": {"one": one}, "b": {"two": two}, "c": {"three": three}}
        ),
        "one": context.digest(one),
        "two": context.digest(two),
        "directory": blobs.add_tree({"three": three}),
    }
    job = Job(context, "true", environment={"UNIQUE": context.fresh(8).hex()})
    parts["command"] = blobs.add_message(job.command())
    action = blobs.add_message(job.action(parts["command"], parts["root"]))
    absent = [parts[name] for name in leave_out]
    blobs.store(leave_out=absent)
    expect_missing(execute(context, action), absent)


@group.must("EXE-INV-01", "No action digest is INVALID_ARGUMENT", spec=INVALID)
def no_action_digest(context: Context) -> None:
    context.need_execution()
    run = execute(context, None)
    run.expect_code(StatusCode.INVALID_ARGUMENT, what="no action_digest")
    run = execute(context, api.Digest(hash="xyz", size_bytes=3))
    run.expect_code(StatusCode.INVALID_ARGUMENT, what="hash 'xyz'")


@group.must(
    "EXE-INV-02",
    "Blobs that are not the messages they should be are INVALID_ARGUMENT",
    spec=INVALID,
)
def garbage_messages(context: Context) -> None:
    context.need_execution()
    garbage = context.put(b"\xff" * 40 + context.fresh(8))
    job = Job(context, "true")
    command = context.put_message(job.command())
    root = context.put_message(api.Directory())
    for what, action in {
        "the action": garbage,
        "the command": context.put_message(job.action(garbage, root)),
        "the input root": context.put_message(job.action(command, garbage)),
    }.items():
        execute(context, action).expect_code(
            StatusCode.INVALID_ARGUMENT, what=f"garbage as {what}"
        )


@group.must(
    "EXE-INV-03",
    "An action without a command digest is INVALID_ARGUMENT",
    spec="Action.command_digest",
)
def no_command_digest(context: Context) -> None:
    context.need_execution()
    action = Job(context).action(None, context.digest(b""))
    execute(context, context.put_message(action)).expect_code(
        StatusCode.INVALID_ARGUMENT
    )


@group.must(
    "EXE-INV-04",
    "A command without arguments is INVALID_ARGUMENT",
    spec="Command.arguments",
)
def no_arguments(context: Context) -> None:
    context.need_execution()
    command = api.Command(output_paths=["out"])
    action = Job(context).action(
        context.put_message(command), context.put_message(api.Directory())
    )
    execute(context, context.put_message(action)).expect_code(
        StatusCode.INVALID_ARGUMENT
    )


@group.must(
    "EXE-INV-05",
    "An output path that is absolute or leaves the input root is "
    "INVALID_ARGUMENT",
    spec="Command.output_paths",
)
def bad_output_paths(context: Context) -> None:
    context.need_execution()
    for path in ("/out", "../out", "a/../../out"):
        Job(context, "true", outputs=[path]).run().expect_code(
            StatusCode.INVALID_ARGUMENT, what=f"output path {path!r}"
        )


@group.must(
    "EXE-INV-06",
    "A working directory outside of the input tree is refused",
    spec="Command.working_directory",
)
def bad_working_directory(context: Context) -> None:
    context.need_execution()
    for path in ("no/such/directory", "../..", "/tmp"):
        run = Job(
            context, "true", command_fields={"working_directory": path}
        ).run()
        run.expect_code(
            StatusCode.INVALID_ARGUMENT,
            StatusCode.FAILED_PRECONDITION,
            what=f"working directory {path!r}",
        )


@group.must(
    "EXE-INV-07",
    "An output node property that the server does not "
    "know is INVALID_ARGUMENT",
    spec="Command.output_node_properties",
)
def unknown_node_property(context: Context) -> None:
    context.need_execution()
    run = Job(
        context,
        "true",
        command_fields={"output_node_properties": ["conformance-no-such"]},
    ).run()
    run.expect_code(StatusCode.INVALID_ARGUMENT)


@group.must(
    "EXE-INV-08",
    "A negative timeout is INVALID_ARGUMENT",
    spec="Action.timeout",
)
def negative_timeout(context: Context) -> None:
    context.need_execution()
    Job(context, "true", timeout=-5).run().expect_code(
        StatusCode.INVALID_ARGUMENT
    )


@group.should(
    "EXE-TMO-01",
    "A timeout above the server's maximum is "
    "refused, and every server has one",
    spec="Action.timeout",
)
def endless_timeout(context: Context) -> None:
    context.need_execution()
    run = Job(context, "true", timeout=LONGEST_SECONDS).run()
    run.expect_code(
        StatusCode.INVALID_ARGUMENT,
        StatusCode.OUT_OF_RANGE,
        StatusCode.FAILED_PRECONDITION,
        what="a timeout of 10,000 years",
    )


@group.must(
    "EXE-SYM-01",
    "An input symlink with an absolute target is "
    "INVALID_ARGUMENT when the strategy is DISALLOWED",
    spec="SymlinkAbsolutePathStrategy.DISALLOWED",
)
def absolute_input_symlink_disallowed(context: Context) -> None:
    context.need_execution()
    _need_strategy(context, DISALLOWED)
    _with_absolute_symlink(context).expect_code(StatusCode.INVALID_ARGUMENT)


@group.must(
    "EXE-SYM-02",
    "An input symlink with an absolute target reaches "
    "the action as it is when the strategy is ALLOWED",
    spec="SymlinkAbsolutePathStrategy.ALLOWED",
)
def absolute_input_symlink_allowed(context: Context) -> None:
    context.need_execution()
    _need_strategy(context, DISALLOWED + 1)
    run = _with_absolute_symlink(context).expect_success()
    expect(
        run.stdout() == b"/no/such/target\n",
        f"the action saw {run.stdout()!r}",
    )


def _need_strategy(context: Context, wanted: int) -> None:
    actual = context.cache.symlink_absolute_path_strategy
    if actual != wanted:
        raise Skip(f"the strategy is {actual}")


def _with_absolute_symlink(context: Context) -> Run:
    inputs: dict[str, Any] = {"link": Link("/no/such/target")}
    return Job(context, "readlink link", inputs=inputs).run()


@group.must(
    "EXE-SYM-03",
    "An output symlink with an absolute target is "
    "FAILED_PRECONDITION when the strategy is DISALLOWED, and "
    "returned as it is when ALLOWED",
    spec="SymlinkAbsolutePathStrategy",
)
def absolute_output_symlink(context: Context) -> None:
    context.need_execution()
    run = Job(context, "ln -s /no/such/target link", outputs=["link"]).run()
    if context.cache.symlink_absolute_path_strategy == DISALLOWED:
        run.expect_code(StatusCode.FAILED_PRECONDITION)
        return
    run.expect_success()
    found = [(each.path, each.target) for each in run.result.output_symlinks]
    expect(found == [("link", "/no/such/target")], f"output_symlinks: {found}")
