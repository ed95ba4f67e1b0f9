# SPDX-License-Identifier: Apache-2.0
"""Rules about platform properties.

They come last: a server that has just started may wait for a worker that
offers an unknown property before it refuses the action.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from grpc import StatusCode

from .context import Context, platform_of
from .execute import Job, execute
from .harness import Group, Skip
from .messages import api

group = Group("execution")
PATIENCE_SECONDS = 60.0


def _patient(context: Context) -> Context:
    """The same server, with a longer deadline for executions."""
    context.need_execution()
    deadline = max(context.settings.execute_deadline, PATIENCE_SECONDS)
    settings = replace(context.settings, execute_deadline=deadline)
    return replace(context, settings=settings)


@group.should(
    "EXE-PLT-01",
    "A platform property that the server does not know is refused",
    spec="Platform.Property",
)
def unknown_platform_property(context: Context) -> None:
    context = _patient(context)
    platform = _unknown_platform(context)
    run = Job(context, "true", platform=platform).run()
    run.expect_code(
        StatusCode.FAILED_PRECONDITION, StatusCode.INVALID_ARGUMENT
    )


@group.should(
    "EXE-PLT-02",
    "The platform of the action is preferred to that of the command",
    spec="Action.platform",
)
def action_platform_is_preferred(context: Context) -> None:
    context = _patient(context)
    if not context.settings.platform:
        raise Skip("no --platform was given")
    job = Job(context, "true")
    command = job.command()
    command.platform.CopyFrom(_unknown_platform(context))
    action = job.action(
        context.put_message(command), context.put_message(api.Directory())
    )
    execute(context, context.put_message(action)).expect_success()


@group.practice(
    "EXE-PLT-03",
    "The platform of the command counts when the action has none",
    spec="Command.platform",
)
def command_platform_is_used(context: Context) -> None:
    context = _patient(context)
    job = Job(context, "true")
    command = job.command()
    command.platform.CopyFrom(_unknown_platform(context))
    action = job.action(
        context.put_message(command), context.put_message(api.Directory())
    )
    action.ClearField("platform")
    run = execute(context, context.put_message(action))
    run.expect_code(
        StatusCode.FAILED_PRECONDITION, StatusCode.INVALID_ARGUMENT
    )


def _unknown_platform(context: Context) -> Any:
    platform = platform_of(context.settings)
    platform.properties.add(name="zz-conformance-no-such", value="1")
    return platform
