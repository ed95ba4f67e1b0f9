# SPDX-License-Identifier: Apache-2.0
"""Rules of the ActionCache service."""

from __future__ import annotations

from functools import partial
from typing import Any

from grpc import StatusCode

from .context import Context
from .digests import digest_of, with_size
from .harness import (
    Group,
    attempt,
    expect,
    expect_code,
    expect_equal,
    expect_status,
)
from .messages import api

group = Group("ac")
GET = "ActionCache.GetActionResult"
UPDATE = "ActionCache.UpdateActionResult"
COMPLETE = GET + ", on referenced blobs"


def stored_action(context: Context) -> Any:
    """Store a fresh command, input root and action; returns the digest."""
    command = api.Command(arguments=["true"], output_paths=["out"])
    action = api.Action(
        command_digest=context.put_message(command),
        input_root_digest=context.digest(b""),
        salt=context.fresh(16),
    )
    return context.put_message(action)


def result_with(**fields: Any) -> Any:
    """An ActionResult that names a worker, so that it is not empty."""
    result = api.ActionResult(**fields)
    result.execution_metadata.worker = "conformance"
    return result


def _without_inlining(result: Any) -> Any:
    copy = api.ActionResult()
    copy.CopyFrom(result)
    copy.ClearField("stdout_raw")
    copy.ClearField("stderr_raw")
    for each in copy.output_files:
        each.ClearField("contents")
    return copy


@group.must(
    "AC-GET-01", "A result that was never stored is NOT_FOUND", spec=GET
)
def unknown_result_is_not_found(context: Context) -> None:
    action = stored_action(context)
    expect_status(
        lambda: context.client.get_result(action),
        StatusCode.NOT_FOUND,
        what="GetActionResult",
    )
    expect_status(
        lambda: context.client.get_result(context.absent()),
        StatusCode.NOT_FOUND,
        what="GetActionResult of an unknown action",
    )


@group.must(
    "AC-UPD-01", "A stored result is returned as it was stored", spec=UPDATE
)
def stored_result_is_returned(context: Context) -> None:
    context.need_updates()
    action = stored_action(context)
    output, stdout, stderr = (context.put(context.fresh()) for _ in range(3))
    result = result_with(
        exit_code=0, stdout_digest=stdout, stderr_digest=stderr
    )
    result.output_files.add(path="a/out", digest=output, is_executable=True)
    result.output_symlinks.add(path="link", target="a/out")
    replied = context.client.update_result(action, result)
    expect_equal(_without_inlining(replied), result, "the reply")
    found = context.client.get_result(action)
    expect_equal(_without_inlining(found), result, "the stored result")


@group.must(
    "AC-UPD-02", "A later result replaces the earlier one", spec=UPDATE
)
def later_result_replaces(context: Context) -> None:
    context.need_updates()
    action = stored_action(context)
    for _ in range(2):
        digest = context.put(context.fresh())
        result = result_with(stdout_digest=digest)
        context.client.update_result(action, result)
        expect_equal(
            context.client.get_result(action).stdout_digest,
            digest,
            "stdout_digest",
        )


@group.must(
    "AC-UPD-03", "Results of different actions are kept apart", spec=UPDATE
)
def results_are_kept_apart(context: Context) -> None:
    context.need_updates()
    stored = []
    for _ in range(3):
        action = stored_action(context)
        digest = context.put(context.fresh())
        context.client.update_result(action, result_with(stdout_digest=digest))
        stored.append((action, digest))
    for action, digest in stored:
        expect_equal(
            context.client.get_result(action).stdout_digest,
            digest,
            "stdout_digest",
        )


@group.practice(
    "AC-UPD-04",
    "An update without a digest is INVALID_ARGUMENT",
    spec=UPDATE + ", errors",
)
def update_without_digest_is_refused(context: Context) -> None:
    context.need_updates()
    expect_status(
        lambda: context.client.update_result(None, result_with()),
        StatusCode.INVALID_ARGUMENT,
        what="no action_digest",
    )
    bad = api.Digest(hash="xyz", size_bytes=3)
    expect_status(
        lambda: context.client.update_result(bad, result_with()),
        StatusCode.INVALID_ARGUMENT,
        what="a malformed action_digest",
    )


@group.must(
    "AC-UPD-05",
    "An update whose action is absent is stored, or FAILED_PRECONDITION",
    spec=UPDATE + ", errors",
)
def update_without_action(context: Context) -> None:
    context.need_updates()
    action = context.absent()
    result = result_with()
    outcome = attempt(lambda: context.client.update_result(action, result))
    expect_code(
        outcome.code,
        [StatusCode.OK, StatusCode.FAILED_PRECONDITION],
        "UpdateActionResult",
        outcome.message,
    )


@group.must(
    "AC-GET-02",
    "An action digest with another size has no result",
    spec="Digest, on the size as a part of it",
)
def size_is_part_of_action(context: Context) -> None:
    context.need_updates()
    action = stored_action(context)
    context.client.update_result(action, result_with())
    wrong = with_size(action, action.size_bytes + 1)
    expect_status(
        lambda: context.client.get_result(wrong),
        StatusCode.NOT_FOUND,
        StatusCode.INVALID_ARGUMENT,
        what="GetActionResult",
    )


@group.must(
    "AC-GET-03",
    "Each announced digest function is inferred from the length of the hash",
    spec="GetActionResultRequest.digest_function",
)
def function_is_inferred(context: Context) -> None:
    context.need_updates()
    client = context.client
    for function in context.functions():
        command = api.Command(arguments=["true"]).SerializeToString()
        action = api.Action(
            command_digest=digest_of(command, function),
            input_root_digest=digest_of(b"", function),
            salt=context.fresh(16),
        ).SerializeToString()
        digest = digest_of(action, function)
        client.batch_update(
            [(digest_of(command, function), command), (digest, action)]
        )
        client.update_result(digest, result_with())
        for given in (0, function):
            outcome = attempt(
                partial(client.get_result, digest, function=given)
            )
            expect_code(
                outcome.code,
                [StatusCode.OK],
                f"digest function {function}, named as {given}",
                outcome.message,
            )


@group.should(
    "AC-INL-01",
    "Nothing is inlined that was not asked for",
    spec="ActionResult.stdout_raw, stderr_raw, OutputFile.contents",
)
def nothing_is_inlined_unasked(context: Context) -> None:
    context.need_updates()
    found = context.client.get_result(_inlinable(context)[0])
    expect_equal(found.stdout_raw, b"", "stdout_raw")
    expect_equal(found.stderr_raw, b"", "stderr_raw")
    expect_equal(
        [each.contents for each in found.output_files], [b"", b""], "contents"
    )


def _inlinable(context: Context) -> tuple[Any, dict[str, bytes]]:
    """A stored result with small outputs; its action and the data."""
    data = {
        name: context.fresh() for name in ("stdout", "stderr", "one", "two")
    }
    digests = {name: context.put(each) for name, each in data.items()}
    result = result_with(
        stdout_digest=digests["stdout"], stderr_digest=digests["stderr"]
    )
    for name in ("one", "two"):
        result.output_files.add(path=name, digest=digests[name])
    action = stored_action(context)
    context.client.update_result(action, result)
    return action, data


@group.must(
    "AC-INL-02",
    "What is inlined on request is the data of the blob",
    spec="GetActionResultRequest.inline_stdout, "
    "inline_stderr, inline_output_files",
)
def inlined_data_is_right(context: Context) -> None:
    context.need_updates()
    action, data = _inlinable(context)
    found = context.client.get_result(action, True, True, ["two"])
    expect(found.stdout_raw in (b"", data["stdout"]), "stdout_raw differs")
    expect(found.stderr_raw in (b"", data["stderr"]), "stderr_raw differs")
    contents = {each.path: each.contents for each in found.output_files}
    expect_equal(contents["one"], b"", "contents of a file not listed")
    expect(contents["two"] in (b"", data["two"]), "contents differ")


@group.practice(
    "AC-INL-03",
    "Small output is inlined when asked for",
    spec="GetActionResultRequest.inline_stdout, inline_stderr, "
    "inline_output_files",
)
def small_output_is_inlined(context: Context) -> None:
    context.need_updates()
    action, data = _inlinable(context)
    found = context.client.get_result(action, True, True, ["two"])
    expect_equal(found.stdout_raw, data["stdout"], "stdout_raw")
    expect_equal(found.stderr_raw, data["stderr"], "stderr_raw")
    contents = {each.path: each.contents for each in found.output_files}
    expect_equal(contents["two"], data["two"], "contents")


@group.must(
    "AC-INL-04",
    "Inlining never makes a reply too large to receive",
    spec="ActionResult.stdout_raw, on message size limits",
)
def inlining_keeps_message_limits(context: Context) -> None:
    context.need_updates()
    large = context.put(context.fresh(5 << 20))
    medium = context.put(context.fresh(3 << 20))
    result = result_with(stdout_digest=large, stderr_digest=medium)
    result.output_files.add(path="one", digest=medium)
    result.output_files.add(path="two", digest=large)
    action = stored_action(context)
    context.client.update_result(action, result)
    found = context.client.get_result(action, True, True, ["one", "two"])
    expect_equal(found.stdout_digest, large, "stdout_digest")


@group.practice(
    "AC-INL-05",
    "A request to inline a path that the result lacks is harmless",
    spec="GetActionResultRequest.inline_output_files",
)
def unknown_inline_path_is_harmless(context: Context) -> None:
    context.need_updates()
    action, _ = _inlinable(context)
    context.client.get_result(action, files=["no/such/output"])


def _expect_incomplete(context: Context, what: str, result: Any) -> None:
    """An update naming an absent blob is refused or later NOT_FOUND."""
    action = stored_action(context)
    outcome = attempt(lambda: context.client.update_result(action, result))
    if not outcome.ok:
        expect_code(
            outcome.code,
            [
                StatusCode.FAILED_PRECONDITION,
                StatusCode.NOT_FOUND,
                StatusCode.INVALID_ARGUMENT,
            ],
            f"UpdateActionResult with {what}",
            outcome.message,
        )
    expect_status(
        lambda: context.client.get_result(action),
        StatusCode.NOT_FOUND,
        what=f"GetActionResult with {what}",
    )


@group.should(
    "AC-CMP-01",
    "A result with an absent output file, stdout or stderr is not returned",
    spec=COMPLETE,
)
def absent_outputs_hide_the_result(context: Context) -> None:
    context.need_updates()
    result = result_with()
    result.output_files.add(path="out", digest=context.absent())
    _expect_incomplete(context, "an absent output file", result)
    _expect_incomplete(
        context,
        "an absent stdout",
        result_with(stdout_digest=context.absent()),
    )
    _expect_incomplete(
        context,
        "an absent stderr",
        result_with(stderr_digest=context.absent()),
    )


def _tree_result(tree: Any) -> Any:
    result = result_with()
    result.output_directories.add(path="dir", tree_digest=tree)
    return result


@group.should(
    "AC-CMP-02",
    "A result with an absent Tree, or an absent file "
    "inside one, is not returned",
    spec=COMPLETE,
)
def absent_tree_parts_hide_the_result(context: Context) -> None:
    context.need_updates()
    _expect_incomplete(
        context, "an absent Tree", _tree_result(context.absent())
    )
    in_root = api.Tree()
    in_root.root.files.add(name="file", digest=context.absent())
    _expect_incomplete(
        context,
        "an absent file in a Tree's root",
        _tree_result(context.put_message(in_root)),
    )
    child = api.Directory()
    child.files.add(name="file", digest=context.absent())
    below = api.Tree(children=[child])
    below.root.directories.add(
        name="child",
        digest=context.digest(child.SerializeToString(deterministic=True)),
    )
    _expect_incomplete(
        context,
        "an absent file in a Tree's child",
        _tree_result(context.put_message(below)),
    )


@group.should(
    "AC-CMP-03",
    "A result with an absent root directory, or an "
    "absent part below one, is not returned",
    spec=COMPLETE,
)
def absent_directories_hide_the_result(context: Context) -> None:
    context.need_updates()
    result = result_with()
    result.output_directories.add(
        path="dir", root_directory_digest=context.absent()
    )
    _expect_incomplete(context, "an absent root directory", result)
    root = api.Directory()
    root.files.add(name="file", digest=context.absent())
    result = result_with()
    result.output_directories.add(
        path="dir", root_directory_digest=context.put_message(root)
    )
    _expect_incomplete(
        context, "an absent file below a root directory", result
    )


@group.must(
    "AC-CMP-04",
    "A complete result with directories is returned, "
    "and all that it names is there",
    spec=COMPLETE,
)
def complete_result_is_returned(context: Context) -> None:
    context.need_updates()
    file = context.put(context.fresh())
    child = api.Directory()
    child.files.add(name="file", digest=file)
    tree = api.Tree(children=[child])
    tree.root.directories.add(name="child", digest=context.put_message(child))
    tree.root.files.add(name="empty", digest=context.digest(b""))
    result = result_with(stdout_digest=context.digest(b""))
    result.output_directories.add(
        path="dir",
        tree_digest=context.put_message(tree),
        root_directory_digest=context.put_message(tree.root),
    )
    action = stored_action(context)
    context.client.update_result(action, result)
    found = context.client.get_result(action)
    expect_equal(_without_inlining(found), result, "the stored result")
    named = found.output_directories[0]
    expect_equal(
        context.client.find_missing(
            [file, named.tree_digest, named.root_directory_digest]
        ),
        [],
        "missing blobs",
    )


@group.practice(
    "AC-GET-04",
    "A digest that is not one is refused",
    spec="GetActionResultRequest.action_digest",
)
def malformed_digest_is_refused(context: Context) -> None:
    expect_status(
        lambda: context.client.get_result(None),
        StatusCode.INVALID_ARGUMENT,
        what="no digest",
    )
    bad = api.Digest(hash="xyz", size_bytes=3)
    expect_status(
        lambda: context.client.get_result(bad),
        StatusCode.INVALID_ARGUMENT,
        what="hash 'xyz'",
    )


@group.must(
    "AC-UPD-06",
    "Cache priorities within the advertised ranges are accepted",
    spec="ResultsCachePolicy.priority",
)
def cache_priorities_are_accepted(context: Context) -> None:
    context.need_updates()
    wanted = {0}
    for each in context.cache.cache_priority_capabilities.priorities:
        wanted |= {each.min_priority, each.max_priority}
    for priority in sorted(wanted):
        action = stored_action(context)
        context.client.update_result(
            action,
            result_with(),
            results_cache_policy=api.ResultsCachePolicy(priority=priority),
        )
        found = attempt(partial(context.client.get_result, action))
        expect_code(
            found.code, [StatusCode.OK], f"priority {priority}", found.message
        )
