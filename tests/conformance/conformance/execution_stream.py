# SPDX-License-Identifier: Apache-2.0
"""Rules about the stream of operations, WaitExecution and timeouts."""

from __future__ import annotations

import time
from functools import partial

from grpc import StatusCode

from .context import Context
from .execute import Job, Run, abandon, collect, execute, start
from .harness import Group, expect, expect_equal, expect_status
from .messages import api

group = Group("execution")
EXECUTE = "Execution.Execute"
WAIT = "Execution.WaitExecution"
COMPLETED = 4
PROMPT_SECONDS = 2.0
METADATA = "/build.bazel.remote.execution.v2.ExecuteOperationMetadata"
RESPONSE = "/build.bazel.remote.execution.v2.ExecuteResponse"


def _short_run(context: Context) -> Run:
    context.need_execution()
    return Job(context, "sleep 0.1; echo done").run().expect_success()


@group.must(
    "EXE-STR-01", "Every update bears the same name", spec="Operation.name"
)
def updates_have_one_name(context: Context) -> None:
    names = {each.name for each in _short_run(context).operations}
    expect_equal(len(names), 1, "distinct names")
    expect("" not in names, "the name is empty")


@group.must(
    "EXE-STR-02",
    "Every update has ExecuteOperationMetadata with a "
    "known stage and the action's digest",
    spec="ExecuteOperationMetadata",
)
def updates_have_metadata(context: Context) -> None:
    context.need_execution()
    action = Job(context, "true").store()
    run = execute(context, action).expect_success()
    for operation in run.operations:
        expect(
            operation.metadata.type_url.endswith(METADATA),
            f"metadata is {operation.metadata.type_url!r}",
        )
        metadata = api.ExecuteOperationMetadata()
        operation.metadata.Unpack(metadata)
        expect(metadata.stage != 0, "the stage is UNKNOWN")
        expect_equal(metadata.action_digest, action, "action_digest")
        expect(
            metadata.digest_function in (0, context.function),
            f"digest_function is {metadata.digest_function}",
        )


@group.must(
    "EXE-STR-03",
    "The stage is COMPLETED if and only if the operation is done",
    spec="ExecutionStage",
)
def completed_means_done(context: Context) -> None:
    for operation in _short_run(context).operations:
        metadata = api.ExecuteOperationMetadata()
        operation.metadata.Unpack(metadata)
        expect_equal(
            metadata.stage == COMPLETED,
            operation.done,
            "whether the stage is COMPLETED",
        )


@group.must(
    "EXE-STR-04",
    "Only the last update is done, and it has an ExecuteResponse",
    spec="Operation.response",
)
def last_update_has_the_response(context: Context) -> None:
    run = _short_run(context)
    for operation in run.operations[:-1]:
        expect(not operation.done, "an update follows a finished one")
        expect(
            operation.WhichOneof("result") is None,
            "an unfinished update has a result",
        )
    last = run.operations[-1]
    expect_equal(last.WhichOneof("result"), "response", "the result")
    expect(
        last.response.type_url.endswith(RESPONSE),
        f"the response is {last.response.type_url!r}",
    )
    expect_equal(run.stream_code, StatusCode.OK, "status of the stream")


@group.must(
    "EXE-STR-05",
    "An error of the execution is in the response, "
    "never in the operation's error field",
    spec="ExecuteResponse.status",
)
def errors_are_in_the_response(context: Context) -> None:
    context.need_execution()
    run = Job(context, "sleep 30", timeout=0.5).run()
    expect(
        bool(run.operations) and run.operations[-1].done,
        "the operation was never done",
    )
    for operation in run.operations:
        expect(
            operation.WhichOneof("result") != "error",
            "the operation's error field is set",
        )
    expect(run.response.status.code != 0, "the status is OK")


@group.must(
    "EXE-TMO-02",
    "An action that exceeds its timeout is "
    "DEADLINE_EXCEEDED in the response, soon after",
    spec="Action.timeout; ExecuteResponse.status",
)
def timeout_is_enforced(context: Context) -> None:
    context.need_execution()
    began = time.monotonic()
    run = Job(context, "echo before; sleep 30", timeout=1).run()
    took = time.monotonic() - began
    expect_equal(run.stream_code, StatusCode.OK, "status of the stream")
    run.expect_code(StatusCode.DEADLINE_EXCEEDED)
    expect(took < 10, f"the answer took {took:.1f} s")
    if run.result.stdout_raw or run.result.stdout_digest.hash:
        expect_equal(run.stdout(), b"before\n", "standard output")


@group.must(
    "EXE-TMO-03",
    "What a timeout ends is not cached",
    spec="ExecuteResponse.status",
)
def timeout_is_not_cached(context: Context) -> None:
    context.need_execution()
    action = Job(context, "sleep 30", timeout=0.5).store()
    execute(context, action).expect_code(StatusCode.DEADLINE_EXCEEDED)
    expect_status(
        lambda: context.client.get_result(action),
        StatusCode.NOT_FOUND,
        what="GetActionResult",
    )


@group.practice(
    "EXE-TMO-04",
    "A timeout also ends what the command has started in the background",
    spec="Action.timeout",
)
def timeout_ends_children(context: Context) -> None:
    context.need_execution()
    began = time.monotonic()
    run = Job(context, "sleep 30 & sleep 31 & wait", timeout=1).run()
    run.expect_code(StatusCode.DEADLINE_EXCEEDED)
    took = time.monotonic() - began
    expect(took < 10, f"the answer took {took:.1f} s")


@group.must("EXE-WAI-01", "An unknown operation is NOT_FOUND", spec=WAIT)
def unknown_operation_is_not_found(context: Context) -> None:
    context.need_execution()
    for name in (
        "operations/conformance-no-such",
        "00000000-0000-4000-8000-000000000000",
    ):
        call = context.client.open_wait(name, context.settings.deadline)
        expect_status(
            partial(list, call),
            StatusCode.NOT_FOUND,
            what=f"WaitExecution of {name!r}",
        )


@group.must(
    "EXE-WAI-02",
    "A client that lost its stream gets the result by waiting",
    spec=WAIT,
)
def waiting_gets_the_result(context: Context) -> None:
    context.need_execution()
    call, name = start(context, "sleep 1; echo done")
    call.cancel()
    wait = context.client.open_wait(name, context.settings.execute_deadline)
    run = collect(context, wait).expect_success()
    expect_equal({each.name for each in run.operations}, {name}, "names")
    expect_equal(run.stdout(), b"done\n", "standard output")


@group.must(
    "EXE-WAI-03",
    "A waiting client is told the present state at once",
    spec=WAIT,
)
def waiting_tells_the_state(context: Context) -> None:
    context.need_execution()
    call, name = start(context, "sleep 4")
    began = time.monotonic()
    wait = context.client.open_wait(name, context.settings.execute_deadline)
    first = next(wait)
    took = time.monotonic() - began
    wait.cancel()
    abandon(context, call, name)
    expect(took < PROMPT_SECONDS, f"the first update took {took:.1f} s")
    expect(not first.done, "the operation is done already")


@group.must(
    "EXE-WAI-04", "Several clients may wait for one operation", spec=WAIT
)
def many_may_wait(context: Context) -> None:
    context.need_execution()
    call, name = start(context, "sleep 0.5; echo done")
    waits = [
        context.client.open_wait(name, context.settings.execute_deadline)
        for _ in range(3)
    ]
    for each in [call, *waits]:
        run = collect(context, each).expect_success()
        expect_equal(run.stdout(), b"done\n", "standard output")


@group.must(
    "EXE-WAI-05",
    "A finished operation is returned at once, or NOT_FOUND",
    spec=WAIT,
)
def finished_operation_is_returned(context: Context) -> None:
    run = _short_run(context)
    again = collect(
        context,
        context.client.open_wait(
            run.operations[-1].name, context.settings.deadline
        ),
    )
    if again.stream_code != StatusCode.NOT_FOUND:
        again.expect_success()
        expect_equal(again.result, run.result, "the result")


@group.practice(
    "EXE-STR-06",
    "The first update comes at once, not with the result",
    spec=EXECUTE,
)
def first_update_is_prompt(context: Context) -> None:
    context.need_execution()
    began = time.monotonic()
    call, name = start(context, "sleep 4")
    took = time.monotonic() - began
    abandon(context, call, name)
    expect(took < PROMPT_SECONDS, f"the first update took {took:.1f} s")
