# SPDX-License-Identifier: Apache-2.0
"""Rules about what executions take from the action cache and put there."""

from __future__ import annotations

from typing import Any

from grpc import StatusCode

from .context import Context
from .execute import Blobs, Job, collect, execute
from .harness import Group, attempt, expect, expect_equal, expect_status
from .messages import api

group = Group("execution")
EXECUTE = "Execution.Execute"
# Each run of this script has another output.
STAMP = "date +%s%N > out; head -c 8 /dev/urandom >> out"


def _stamped(context: Context, **fields: Any) -> Any:
    context.need_execution()
    return Job(context, STAMP, outputs=["out"], **fields).store()


@group.should(
    "EXE-CCH-01",
    "A success is cached: the next Execute is served "
    "from the cache, and GetActionResult finds it",
    spec="Action",
)
def success_is_cached(context: Context) -> None:
    action = _stamped(context)
    first = execute(context, action).expect_success()
    expect(
        not first.response.cached_result,
        "a first execution is said to be cached",
    )
    second = execute(context, action).expect_success()
    expect(second.response.cached_result, "cached_result is false")
    expect_equal(second.data("out"), first.data("out"), "the output")
    found = context.client.get_result(action)
    expect_equal(
        found.output_files[0].digest,
        first.file("out").digest,
        "the cached output",
    )


@group.must(
    "EXE-CCH-02",
    "With do_not_cache, nothing is put into the cache and each Execute runs",
    spec="Action.do_not_cache",
)
def uncacheable_is_not_cached(context: Context) -> None:
    action = _stamped(context, do_not_cache=True)
    first = execute(context, action).expect_success()
    expect_status(
        lambda: context.client.get_result(action),
        StatusCode.NOT_FOUND,
        what="GetActionResult",
    )
    second = execute(context, action).expect_success()
    expect(not second.response.cached_result, "cached_result is true")
    expect(first.data("out") != second.data("out"), "the outputs are equal")


@group.must(
    "EXE-CCH-03",
    "With do_not_cache, two executions in flight are not merged",
    spec="Action.do_not_cache",
)
def uncacheable_is_not_merged(context: Context) -> None:
    context.need_execution()
    action = Job(
        context, f"{STAMP}; sleep 0.5", outputs=["out"], do_not_cache=True
    ).store()
    calls = [
        context.client.open_execute(action, context.settings.execute_deadline)
        for _ in range(2)
    ]
    outputs = [
        collect(context, call).expect_success().data("out") for call in calls
    ]
    expect(outputs[0] != outputs[1], "the outputs are equal")


@group.must(
    "EXE-CCH-04",
    "With skip_cache_lookup, the action runs again",
    spec="ExecuteRequest.skip_cache_lookup",
)
def skipping_runs_again(context: Context) -> None:
    action = _stamped(context)
    first = execute(context, action).expect_success()
    second = execute(context, action, skip_cache_lookup=True).expect_success()
    expect(not second.response.cached_result, "cached_result is true")
    expect(first.data("out") != second.data("out"), "the outputs are equal")


@group.should(
    "EXE-CCH-05",
    "What runs with skip_cache_lookup replaces the cached result",
    spec="ExecuteRequest.skip_cache_lookup",
)
def skipping_replaces_the_result(context: Context) -> None:
    action = _stamped(context)
    execute(context, action).expect_success()
    second = execute(context, action, skip_cache_lookup=True).expect_success()
    found = attempt(lambda: context.client.get_result(action))
    expect(found.ok, f"GetActionResult is {found.code.name}")
    expect_equal(
        found.value.output_files[0].digest,
        second.file("out").digest,
        "the cached output",
    )


@group.practice(
    "EXE-CCH-06", "A command that failed is not cached", spec="Action"
)
def failure_is_not_cached(context: Context) -> None:
    context.need_execution()
    action = Job(context, "exit 3").store()
    run = execute(context, action)
    run.expect_code(StatusCode.OK)
    expect_status(
        lambda: context.client.get_result(action),
        StatusCode.NOT_FOUND,
        what="GetActionResult",
    )
    again = execute(context, action)
    expect(not again.response.cached_result, "cached_result is true")


@group.must(
    "EXE-CCH-07",
    "Actions that differ only in their salt do not share results",
    spec="Action.salt",
)
def salt_separates_results(context: Context) -> None:
    context.need_execution()
    job = Job(context, STAMP, outputs=["out"])
    blobs = Blobs(context)
    root = blobs.add_tree({})
    command = blobs.add_message(job.command())
    actions = [blobs.add_message(job.action(command, root)) for _ in range(2)]
    blobs.store()
    runs = [execute(context, each).expect_success() for each in actions]
    expect(not runs[1].response.cached_result, "cached_result is true")
    expect(runs[0].data("out") != runs[1].data("out"), "the outputs are equal")


@group.must(
    "EXE-CCH-08",
    "Actions that differ only in their timeout do not share results",
    spec="Action.timeout",
)
def timeout_separates_results(context: Context) -> None:
    context.need_execution()
    job = Job(context, STAMP, outputs=["out"])
    blobs = Blobs(context)
    root = blobs.add_tree({})
    command = blobs.add_message(job.command())
    action = job.action(command, root)
    outputs = []
    for seconds in (30, 31):
        action.timeout.seconds = seconds
        digest = blobs.add_message(action)
        blobs.store()
        run = execute(context, digest).expect_success()
        expect(not run.response.cached_result, "cached_result is true")
        outputs.append(run.data("out"))
    expect(outputs[0] != outputs[1], "the outputs are equal")


@group.practice(
    "EXE-CCH-09",
    "A result put there by a client is served without running the action",
    spec="Action",
)
def uploaded_result_is_served(context: Context) -> None:
    context.need_updates()
    action = _stamped(context)
    run = execute(context, action).expect_success()
    result = run.result
    data = context.fresh()
    result.output_files[0].digest.CopyFrom(context.put(data))
    context.client.update_result(action, result)
    again = execute(context, action).expect_success()
    expect(again.response.cached_result, "cached_result is false")
    expect_equal(again.data("out"), data, "the output")


@group.should(
    "EXE-CCH-10",
    "A cached result that names an absent blob is not served; the action runs",
    spec="ActionCache.GetActionResult, on referenced blobs",
)
def incomplete_result_is_not_served(context: Context) -> None:
    context.need_updates()
    action = _stamped(context)
    run = execute(context, action, skip_cache_lookup=True).expect_success()
    result = run.result
    result.output_files[0].digest.CopyFrom(context.absent())
    if not attempt(lambda: context.client.update_result(action, result)).ok:
        return
    again = execute(context, action).expect_success()
    expect(len(again.data("out")) > 0, "the output is empty")


@group.must(
    "EXE-PRI-01",
    "Priorities within the advertised ranges are accepted",
    spec="ExecutionPolicy.priority, ResultsCachePolicy.priority",
)
def priorities_are_accepted(context: Context) -> None:
    context.need_execution()
    ranges = context.execution.execution_priority_capabilities.priorities
    wanted = {0}
    for each in ranges:
        wanted |= {each.min_priority, each.max_priority}
    for priority in sorted(wanted):
        run = Job(context, "true").run(
            execution_policy=api.ExecutionPolicy(priority=priority),
            results_cache_policy=api.ResultsCachePolicy(priority=0),
        )
        run.expect_code(StatusCode.OK, what=f"priority {priority}")
