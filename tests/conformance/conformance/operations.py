# SPDX-License-Identifier: Apache-2.0
"""Rules of the longrunning Operations service, where it is served."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from grpc import StatusCode

from .context import Context
from .execute import Job, abandon, collect, start
from .harness import (
    Group,
    Skip,
    attempt,
    expect,
    expect_code,
    expect_equal,
    expect_status,
)
from .messages import api

group = Group("operations")
SERVICE = "google.longrunning.Operations."
UNKNOWN = "operations/conformance-no-such"
MAX_PAGES = 1000
SETTLE_SECONDS = 5.0


def _need(context: Context, call: Callable[[], Any], what: str) -> None:
    context.need_execution()
    if attempt(call).code == StatusCode.UNIMPLEMENTED:
        raise Skip(f"{what} is not implemented")


def _need_get(context: Context) -> None:
    _need(
        context, lambda: context.client.get_operation(UNKNOWN), "GetOperation"
    )


def _need_cancel(context: Context) -> None:
    _need(
        context,
        lambda: context.client.cancel_operation(UNKNOWN),
        "CancelOperation",
    )


@group.must(
    "LRO-GET-01",
    "An unknown operation is NOT_FOUND",
    spec=SERVICE + "GetOperation",
)
def unknown_operation_is_not_found(context: Context) -> None:
    _need_get(context)
    expect_status(
        lambda: context.client.get_operation(UNKNOWN),
        StatusCode.NOT_FOUND,
        what="GetOperation",
    )


@group.must(
    "LRO-GET-02",
    "A running operation is returned, not done, with its metadata",
    spec=SERVICE + "GetOperation",
)
def running_operation_is_returned(context: Context) -> None:
    _need_get(context)
    call, name = start(context, "sleep 4")
    found = context.client.get_operation(name)
    abandon(context, call, name)
    expect_equal(found.name, name, "name")
    expect(not found.done, "the operation is done")
    expect(found.WhichOneof("result") is None, "a result is set")
    metadata = api.ExecuteOperationMetadata()
    expect(found.metadata.Unpack(metadata), "the metadata is of another type")
    expect(metadata.stage in (1, 2, 3), f"the stage is {metadata.stage}")


@group.must(
    "LRO-GET-03",
    "A finished operation is returned with its response, or NOT_FOUND",
    spec=SERVICE + "GetOperation",
)
def finished_operation_is_returned(context: Context) -> None:
    _need_get(context)
    run = Job(context, "echo done").run().expect_success()
    outcome = attempt(
        lambda: context.client.get_operation(run.operations[-1].name)
    )
    expect_code(
        outcome.code,
        [StatusCode.OK, StatusCode.NOT_FOUND],
        "GetOperation",
        outcome.message,
    )
    if outcome.ok:
        expect(outcome.value.done, "the operation is not done")
        response = api.ExecuteResponse()
        expect(outcome.value.response.Unpack(response), "no ExecuteResponse")
        expect_equal(response.result, run.result, "the result")


@group.must(
    "LRO-LST-01",
    "A running operation is in the list, which ends",
    spec=SERVICE + "ListOperations",
)
def running_operation_is_listed(context: Context) -> None:
    _need(
        context, lambda: context.client.list_operations(""), "ListOperations"
    )
    call, name = start(context, "sleep 4")
    names = []
    token = ""
    for _ in range(MAX_PAGES):
        page = context.client.list_operations(context.settings.instance, token)
        names += [each.name for each in page.operations]
        token = page.next_page_token
        if not token:
            break
    abandon(context, call, name)
    expect_equal(token, "", "the last token")
    expect(name in names, f"{name} is not among {len(names)} operations")


@group.must(
    "LRO-LST-02",
    "No page of the list is larger than asked for",
    spec="ListOperationsRequest.page_size",
)
def list_pages_are_bounded(context: Context) -> None:
    _need(
        context, lambda: context.client.list_operations(""), "ListOperations"
    )
    started = [start(context, "sleep 4") for _ in range(3)]
    page = context.client.list_operations(
        context.settings.instance, page_size=1
    )
    for call, name in started:
        abandon(context, call, name)
    expect_equal(len(page.operations), 1, "operations on the page")
    expect(page.next_page_token != "", "the list ends after one operation")


@group.practice(
    "LRO-LST-03",
    "A page token that the server never gave is INVALID_ARGUMENT",
    spec="ListOperationsRequest.page_token",
)
def unknown_list_tokens_are_refused(context: Context) -> None:
    _need(
        context, lambda: context.client.list_operations(""), "ListOperations"
    )
    expect_status(
        lambda: context.client.list_operations(
            context.settings.instance, "no token of yours"
        ),
        StatusCode.INVALID_ARGUMENT,
        what="ListOperations",
    )


@group.must(
    "LRO-CAN-01",
    "A cancelled execution ends with CANCELLED in its response",
    spec=SERVICE + "CancelOperation; Execution.Execute, CANCELLED",
)
def cancelled_operation_ends(context: Context) -> None:
    _need_cancel(context)
    call, name = start(context, "sleep 25")
    began = time.monotonic()
    context.client.cancel_operation(name)
    run = collect(context, call)
    took = time.monotonic() - began
    run.expect_code(StatusCode.CANCELLED)
    expect(took < SETTLE_SECONDS, f"the end came after {took:.1f} s")
    if run.operations:
        expect(
            run.operations[-1].WhichOneof("result") != "error",
            "the operation's error field is set",
        )


@group.must(
    "LRO-CAN-02",
    "What was cancelled is not cached",
    spec="ExecuteResponse.status",
)
def cancelled_operation_is_not_cached(context: Context) -> None:
    _need_cancel(context)
    action = Job(context, "sleep 25").store()
    call = context.client.open_execute(
        action, context.settings.execute_deadline
    )
    context.client.cancel_operation(next(call).name)
    collect(context, call)
    expect_status(
        lambda: context.client.get_result(action),
        StatusCode.NOT_FOUND,
        what="GetActionResult",
    )


@group.must(
    "LRO-CAN-05",
    "A cancelled operation is not deleted: it is done",
    spec=SERVICE + "CancelOperation",
)
def cancelled_operation_is_kept(context: Context) -> None:
    _need_cancel(context)
    _need_get(context)
    call, name = start(context, "sleep 25")
    context.client.cancel_operation(name)
    collect(context, call)
    expect(context.client.get_operation(name).done, "it is not done")


@group.practice(
    "LRO-CAN-03",
    "Cancelling an unknown operation is NOT_FOUND",
    spec=SERVICE + "CancelOperation",
)
def cancel_of_unknown_is_not_found(context: Context) -> None:
    _need_cancel(context)
    expect_status(
        lambda: context.client.cancel_operation(UNKNOWN),
        StatusCode.NOT_FOUND,
        what="CancelOperation",
    )


@group.practice(
    "LRO-CAN-04",
    "Cancelling a finished operation changes nothing",
    spec=SERVICE + "CancelOperation",
)
def cancel_of_finished_is_harmless(context: Context) -> None:
    _need_cancel(context)
    action = Job(context, "echo done").store()
    call = context.client.open_execute(
        action, context.settings.execute_deadline
    )
    run = collect(context, call).expect_success()
    outcome = attempt(
        lambda: context.client.cancel_operation(run.operations[-1].name)
    )
    expect_code(
        outcome.code,
        [StatusCode.OK, StatusCode.NOT_FOUND, StatusCode.FAILED_PRECONDITION],
        "CancelOperation",
        outcome.message,
    )
    found = attempt(lambda: context.client.get_result(action))
    expect(found.ok, f"the cached result is {found.code.name}")


@group.must(
    "LRO-WTO-01",
    "A wait for a running operation ends with the operation, or at its "
    "timeout with the present state",
    spec=SERVICE + "WaitOperation",
)
def wait_ends_in_time(context: Context) -> None:
    _need_wait(context)
    call, name = start(context, "sleep 4")
    began = time.monotonic()
    found = context.client.wait_operation(name, 0.5)
    took = time.monotonic() - began
    expect_equal(found.name, name, "name")
    expect(not found.done or took < 0.5, "it was done before it ended")
    expect(took < SETTLE_SECONDS - 1.5, f"the answer came after {took:.1f} s")
    abandon(context, call, name)


@group.must(
    "LRO-WTO-02",
    "A wait for a finished operation is answered at once, or NOT_FOUND",
    spec=SERVICE + "WaitOperation",
)
def wait_for_the_past_is_short(context: Context) -> None:
    _need_wait(context)
    run = Job(context, "echo waited for").run().expect_success()
    began = time.monotonic()
    outcome = attempt(
        lambda: context.client.wait_operation(run.operations[-1].name, 8)
    )
    took = time.monotonic() - began
    expect_code(
        outcome.code,
        [StatusCode.OK, StatusCode.NOT_FOUND],
        "WaitOperation",
        outcome.message,
    )
    if outcome.ok:
        expect(outcome.value.done, "the operation is not done")
    expect(took < SETTLE_SECONDS, f"the answer came after {took:.1f} s")


@group.must(
    "LRO-DEL-01",
    "A finished operation that was deleted is NOT_FOUND, for those who wait "
    "for it too",
    spec=SERVICE + "DeleteOperation; Execution.WaitExecution, NOT_FOUND",
)
def deleted_operation_is_gone(context: Context) -> None:
    _need_delete(context)
    run = Job(context, "echo deleted").run().expect_success()
    name = run.operations[-1].name
    outcome = attempt(lambda: context.client.delete_operation(name))
    expect_code(
        outcome.code,
        [StatusCode.OK, StatusCode.NOT_FOUND],
        "DeleteOperation",
        outcome.message,
    )
    expect_status(
        lambda: context.client.get_operation(name),
        StatusCode.NOT_FOUND,
        what="GetOperation",
    )
    expect_status(
        lambda: list(
            context.client.open_wait(name, context.settings.deadline)
        ),
        StatusCode.NOT_FOUND,
        what="WaitExecution",
    )


@group.must(
    "LRO-DEL-02",
    "Deleting an operation does not cancel it",
    spec=SERVICE + "DeleteOperation",
)
def deletion_is_no_cancellation(context: Context) -> None:
    _need_delete(context)
    call, name = start(context, "sleep 1; echo all the same")
    attempt(lambda: context.client.delete_operation(name))
    collect(context, call).expect_success()


def _need_wait(context: Context) -> None:
    _need(
        context,
        lambda: context.client.wait_operation(UNKNOWN, 1),
        "WaitOperation",
    )


def _need_delete(context: Context) -> None:
    _need(
        context,
        lambda: context.client.delete_operation(UNKNOWN),
        "DeleteOperation",
    )
