# SPDX-License-Identifier: Apache-2.0
"""Hostile Directories and Trees."""

from __future__ import annotations

from functools import partial
from typing import Any

from grpc import StatusCode

from conformance.action_cache import result_with, stored_action
from conformance.context import Context
from conformance.digests import with_size
from conformance.execute import Blobs, Job, Run, execute
from conformance.harness import attempt, expect, expect_code, expect_status
from conformance.messages import api

from .common import INVALID, group, still_well

DIRECTORY = "Directory"
BAD_NAMES = (
    "",
    ".",
    "..",
    "/",
    "a/b",
    "/a",
    "a/",
    "a\x00b",
    "\x00",
    "x" * 300,
)
DEPTH = 5000
DOUBLINGS = 40


def _execute_root(context: Context, root: Any) -> Run:
    """Execute `true` with a stored input root."""
    blobs = Blobs(context)
    job = Job(context, "true")
    command = blobs.add_message(job.command())
    action = blobs.add_message(job.action(command, root))
    blobs.store()
    return execute(context, action)


@group.practice(
    "HOS-TRE-01",
    "A name that is empty, `.` or `..`, too long, or "
    "has a slash or a NUL, is INVALID_ARGUMENT for files, "
    "directories and links",
    spec=DIRECTORY,
)
def bad_names_are_refused(context: Context) -> None:
    context.need_execution()
    file = context.put(b"content")
    for name in BAD_NAMES:
        for kind in ("files", "directories", "symlinks"):
            root = api.Directory()
            node = getattr(root, kind).add(name=name)
            if kind == "symlinks":
                node.target = "target"
            elif kind == "files":
                node.digest.CopyFrom(file)
            else:
                node.digest.CopyFrom(context.digest(b""))
            run = _execute_root(context, context.put_message(root))
            run.expect_code(INVALID, what=f"{kind} named {name[:20]!r}")
    still_well(context)


@group.practice(
    "HOS-TRE-02",
    "A name that is there twice is INVALID_ARGUMENT, whatever the kinds",
    spec=DIRECTORY,
)
def duplicate_names_are_refused(context: Context) -> None:
    context.need_execution()
    file = api.FileNode(name="x", digest=context.put(b"content"))
    child = api.DirectoryNode(name="x", digest=context.digest(b""))
    link = api.SymlinkNode(name="x", target="y")
    for what, root in {
        "two files": api.Directory(files=[file, file]),
        "two directories": api.Directory(directories=[child, child]),
        "two links": api.Directory(symlinks=[link, link]),
        "file, directory": api.Directory(files=[file], directories=[child]),
        "file, link": api.Directory(files=[file], symlinks=[link]),
        "directory, link": api.Directory(directories=[child], symlinks=[link]),
    }.items():
        run = _execute_root(context, context.put_message(root))
        run.expect_code(INVALID, what=what)


@group.practice(
    "HOS-TRE-03",
    "A link target that is empty or has a NUL is INVALID_ARGUMENT",
    spec="SymlinkNode.target",
)
def bad_targets_are_refused(context: Context) -> None:
    context.need_execution()
    for target in ("", "a\x00b"):
        root = api.Directory()
        root.symlinks.add(name="link", target=target)
        run = _execute_root(context, context.put_message(root))
        run.expect_code(INVALID, what=f"target {target!r}")


@group.practice(
    "HOS-TRE-04",
    "A node without a digest, or with a malformed one, is INVALID_ARGUMENT",
    spec="FileNode.digest, DirectoryNode.digest",
)
def bad_node_digests_are_refused(context: Context) -> None:
    context.need_execution()
    good = context.put(b"content")
    bad = api.Digest(hash=good.hash.upper(), size_bytes=good.size_bytes)
    for digest in (
        None,
        bad,
        api.Digest(hash="xyz", size_bytes=1),
        with_size(good, -1),
    ):
        for kind in ("files", "directories"):
            root = api.Directory()
            getattr(root, kind).add(name="x", digest=digest)
            run = _execute_root(context, context.put_message(root))
            run.expect_code(INVALID, what=f"{kind} with {digest!r}")


def _deep_root(context: Context, depth: int) -> Any:
    """Store a chain of directories; the digest of its top."""
    blobs = Blobs(context)
    digest = blobs.add_tree({"file": context.fresh()})
    for _ in range(depth):
        directory = api.Directory()
        directory.directories.add(name="d", digest=digest)
        digest = blobs.add_message(directory)
    blobs.store()
    return digest


@group.practice(
    "HOS-TRE-05",
    f"A tree of {DEPTH} levels is refused by Execute, "
    "and returned or refused by GetTree",
    spec=DIRECTORY,
)
def deep_trees_are_bounded(context: Context) -> None:
    root = _deep_root(context, DEPTH)
    outcome = attempt(lambda: context.client.get_tree(root))
    expect_code(
        outcome.code,
        [StatusCode.OK, INVALID, StatusCode.RESOURCE_EXHAUSTED],
        "GetTree",
        outcome.message,
    )
    if outcome.ok:
        found = sum(len(reply.directories) for reply in outcome.value)
        expect(found == DEPTH + 1, f"{found} directories")
    if context.execution.exec_enabled:
        _execute_root(context, root).expect_code(INVALID, what="Execute")
    still_well(context)


@group.practice(
    "HOS-TRE-06",
    f"A tree of {DOUBLINGS} directories that unfolds "
    f"to 2**{DOUBLINGS} is answered within bounds",
    spec=DIRECTORY,
)
def folded_trees_are_bounded(context: Context) -> None:
    blobs = Blobs(context)
    digest = blobs.add_tree({"file": context.fresh()})
    for _ in range(DOUBLINGS):
        directory = api.Directory()
        for name in ("a", "b"):
            directory.directories.add(name=name, digest=digest)
        digest = blobs.add_message(directory)
    blobs.store()
    outcome = attempt(lambda: context.client.get_tree(digest))
    expect_code(
        outcome.code,
        [StatusCode.OK, INVALID, StatusCode.RESOURCE_EXHAUSTED],
        "GetTree",
        outcome.message,
    )
    if context.execution.exec_enabled:
        _execute_root(context, digest).expect_code(
            INVALID,
            StatusCode.RESOURCE_EXHAUSTED,
            StatusCode.FAILED_PRECONDITION,
            what="Execute",
        )
    still_well(context)


@group.practice(
    "HOS-TRE-07",
    "A blob that is no Directory is refused by GetTree",
    spec="ContentAddressableStorage.GetTree",
)
def garbage_root_is_refused(context: Context) -> None:
    root = context.put(b"\xff" * 30 + context.fresh(8))
    expect_status(
        lambda: context.client.get_tree(root),
        INVALID,
        StatusCode.FAILED_PRECONDITION,
        what="GetTree",
    )


@group.practice(
    "HOS-TRE-08",
    "A result whose Tree is no Tree is refused, or never returned",
    spec="OutputDirectory.tree_digest",
)
def garbage_tree_is_not_returned(context: Context) -> None:
    context.need_updates()
    result = result_with()
    result.output_directories.add(
        path="dir", tree_digest=context.put(b"\xff" * 30 + context.fresh(8))
    )
    action = stored_action(context)
    outcome = attempt(lambda: context.client.update_result(action, result))
    expect_code(
        outcome.code,
        [StatusCode.OK, INVALID, StatusCode.FAILED_PRECONDITION],
        "UpdateActionResult",
        outcome.message,
    )
    expect_status(
        lambda: context.client.get_result(action),
        StatusCode.NOT_FOUND,
        what="GetActionResult",
    )
    still_well(context)


@group.practice(
    "HOS-TRE-09",
    "A result with a malformed digest is INVALID_ARGUMENT",
    spec="ActionCache.UpdateActionResult",
)
def bad_result_digests_are_refused(context: Context) -> None:
    context.need_updates()
    bad = api.Digest(hash="xyz", size_bytes=1)
    for what, result in {
        "stdout_digest": api.ActionResult(stdout_digest=bad),
        "output_files": api.ActionResult(
            output_files=[api.OutputFile(path="x", digest=bad)]
        ),
        "output_directories": api.ActionResult(
            output_directories=[api.OutputDirectory(path="x", tree_digest=bad)]
        ),
    }.items():
        action = stored_action(context)
        expect_status(
            partial(context.client.update_result, action, result),
            INVALID,
            what=what,
        )


@group.practice(
    "HOS-TRE-10",
    "A Tree that names itself as its own child, by a "
    "digest it cannot have, ends",
    spec="Tree",
)
def cyclic_tree_ends(context: Context) -> None:
    context.need_updates()
    child = api.Directory()
    child.directories.add(name="again", digest=context.absent())
    tree = api.Tree(root=child, children=[child, child])
    tree.root.directories.add(
        name="self",
        digest=context.digest(child.SerializeToString(deterministic=True)),
    )
    result = result_with()
    result.output_directories.add(
        path="dir", tree_digest=context.put_message(tree)
    )
    action = stored_action(context)
    outcome = attempt(lambda: context.client.update_result(action, result))
    expect_code(
        outcome.code,
        [StatusCode.OK, INVALID, StatusCode.FAILED_PRECONDITION],
        "UpdateActionResult",
        outcome.message,
    )
    found = attempt(lambda: context.client.get_result(action))
    expect_code(
        found.code,
        [StatusCode.OK, StatusCode.NOT_FOUND],
        "GetActionResult",
        found.message,
    )
    still_well(context)
