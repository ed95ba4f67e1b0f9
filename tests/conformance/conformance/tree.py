# SPDX-License-Identifier: Apache-2.0
"""Rules of GetTree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from grpc import StatusCode

from .context import Context
from .digests import with_size
from .harness import (
    Failure,
    Group,
    Skip,
    attempt,
    expect,
    expect_code,
    expect_equal,
    expect_status,
)
from .messages import api

group = Group("cas")
TREE = "ContentAddressableStorage.GetTree"
MAX_PAGES = 200


def encoded(messages: Any) -> list[bytes]:
    """Distinct encodings of messages, sorted."""
    return sorted(
        {each.SerializeToString(deterministic=True) for each in messages}
    )


class Sample:
    """A stored tree: a root, `width` children, one grandchild in each."""

    def __init__(self, context: Context, width: int = 5) -> None:
        file = context.put(context.fresh())
        self.directories = []
        self.root = api.Directory()
        blobs = []
        for index in range(width):
            leaf = api.Directory()
            leaf.files.add(name=f"file-{index}", digest=file)
            child = api.Directory()
            child.directories.add(
                name="leaf",
                digest=context.digest(
                    leaf.SerializeToString(deterministic=True)
                ),
            )
            self.root.directories.add(
                name=f"child-{index}",
                digest=context.digest(
                    child.SerializeToString(deterministic=True)
                ),
            )
            self.directories += [leaf, child]
        self.directories.append(self.root)
        blobs = [
            each.SerializeToString(deterministic=True)
            for each in self.directories
        ]
        self.digest = context.put_all(blobs)[-1]


@group.must(
    "CAS-GTR-01",
    "Every directory below the root is returned, and the root",
    spec=TREE,
)
def whole_tree_is_returned(context: Context) -> None:
    sample = Sample(context)
    found = [
        each
        for reply in context.client.get_tree(sample.digest)
        for each in reply.directories
    ]
    expect_equal(encoded(found), encoded(sample.directories), "directories")


@group.must("CAS-GTR-02", "An absent root is NOT_FOUND", spec=TREE)
def absent_root_is_not_found(context: Context) -> None:
    expect_status(
        lambda: context.client.get_tree(context.absent()),
        StatusCode.NOT_FOUND,
        what="GetTree",
    )


@group.must(
    "CAS-GTR-03",
    "Absent subtrees are left out, the rest is returned",
    spec=TREE + ", on missing parts",
)
def absent_subtree_is_omitted(context: Context) -> None:
    leaf = api.Directory()
    leaf.files.add(name="file", digest=context.absent())
    root = api.Directory()
    root.directories.add(name="absent", digest=context.absent())
    root.directories.add(name="present", digest=context.put_message(leaf))
    digest = context.put_message(root)
    found = [
        each
        for reply in context.client.get_tree(digest)
        for each in reply.directories
    ]
    expect_equal(encoded(found), encoded([leaf, root]), "directories")


@group.must(
    "CAS-GTR-04",
    "No page has more directories than asked for",
    spec="GetTreeRequest.page_size",
)
def page_size_is_kept(context: Context) -> None:
    sample = Sample(context)
    for size in (1, 3):
        found = _all_pages(context, sample.digest, size)
        for reply in found:
            expect(
                len(reply.directories) <= size,
                f"a page of {len(reply.directories)} for size {size}",
            )
        listed = [each for reply in found for each in reply.directories]
        expect_equal(
            encoded(listed),
            encoded(sample.directories),
            "directories of all pages",
        )


def _all_pages(context: Context, root: Any, size: int) -> list[Any]:
    """All responses, calling again while the last one has a token."""
    found: list[Any] = []
    token = ""
    for _ in range(MAX_PAGES):
        replies = context.client.get_tree(root, size, token)
        found += replies
        token = replies[-1].next_page_token if replies else ""
        if not token:
            return found
    raise Failure(f"the tree has no last page within {MAX_PAGES} calls")


@group.must(
    "CAS-GTR-05",
    "The last page has no token",
    spec="GetTreeResponse.next_page_token",
)
def last_page_has_no_token(context: Context) -> None:
    sample = Sample(context)
    found = _all_pages(context, sample.digest, 100)
    expect(bool(found), "GetTree returned nothing")
    expect_equal(found[-1].next_page_token, "", "the last token")


@group.must(
    "CAS-GTR-06",
    "A token resumes after its page: what was seen "
    "and what follows are the whole tree",
    spec="GetTreeRequest.page_token",
)
def token_resumes_the_tree(context: Context) -> None:
    sample = Sample(context)
    replies = context.client.get_tree(sample.digest, 2)
    token = replies[0].next_page_token
    if not token:
        raise Skip("the server has no page smaller than the tree")
    seen = list(replies[0].directories)
    for _ in range(MAX_PAGES):
        replies = context.client.get_tree(sample.digest, 2, token)
        seen += [each for reply in replies for each in reply.directories]
        token = replies[-1].next_page_token if replies else ""
        if not token:
            break
    expect_equal(encoded(seen), encoded(sample.directories), "directories")
    expect_equal(len(seen), len(sample.directories), "directories counted")


@group.must(
    "CAS-GTR-07",
    "The empty directory is a tree, though never uploaded",
    spec="ContentAddressableStorage, on empty blobs",
)
def empty_root_is_a_tree(context: Context) -> None:
    replies = context.client.get_tree(context.digest(b""))
    found = [each for reply in replies for each in reply.directories]
    expect(
        all(each == api.Directory() for each in found),
        f"directories: {found!r}",
    )


@group.must(
    "CAS-GTR-08", "A directory that is named twice is in the tree", spec=TREE
)
def shared_subtree_is_returned(context: Context) -> None:
    leaf = api.Directory()
    leaf.files.add(name="file", digest=context.put(context.fresh()))
    digest = context.put_message(leaf)
    root = api.Directory()
    for name in ("a", "b", "c"):
        root.directories.add(name=name, digest=digest)
    found = [
        each
        for reply in context.client.get_tree(context.put_message(root))
        for each in reply.directories
    ]
    expect_equal(encoded(found), encoded([leaf, root]), "directories")


@group.must(
    "CAS-GTR-09",
    "A stored root with another size is not that tree",
    spec="Digest, on the size as a part of it",
)
def size_is_part_of_root(context: Context) -> None:
    sample = Sample(context, width=1)
    wrong = with_size(sample.digest, sample.digest.size_bytes + 1)
    outcome = attempt(lambda: context.client.get_tree(wrong))
    expect_code(
        outcome.code,
        [StatusCode.NOT_FOUND, StatusCode.INVALID_ARGUMENT],
        "GetTree",
    )


@group.practice(
    "CAS-GTR-10",
    "A token that the server never gave is INVALID_ARGUMENT",
    spec="GetTreeRequest.page_token",
)
def invented_token_is_refused(context: Context) -> None:
    sample = Sample(context, width=1)
    expect_status(
        lambda: context.client.get_tree(sample.digest, 2, "no such token"),
        StatusCode.INVALID_ARGUMENT,
        what="GetTree",
    )


@group.practice(
    "CAS-GTR-11",
    "A tree larger than one message is returned in messages that default "
    "clients can receive",
    spec=TREE,
)
def large_tree_is_returned(context: Context) -> None:
    file = context.put(b"content")
    root = api.Directory()
    for index in range(60):
        child = api.Directory()
        for number in range(1000):
            child.files.add(name=f"{index}-{number:04}", digest=file)
        root.directories.add(
            name=f"child-{index:02}", digest=context.put_message(child)
        )
    digest = context.put_message(root)
    replies = _all_pages(context, digest, 0)
    found = sum(len(reply.directories) for reply in replies)
    expect_equal(found, 61, "number of directories")


@group.must(
    "CAS-GTR-12",
    "A tree is returned under each announced digest function, named or "
    "inferred",
    spec="GetTreeRequest.digest_function",
)
def every_function_has_trees(context: Context) -> None:
    for function in context.functions():
        sample = Sample(replace(context, function=function), width=2)
        for given in (0, function):
            replies = context.client.get_tree(sample.digest, function=given)
            found = [each for reply in replies for each in reply.directories]
            expect_equal(
                encoded(found),
                encoded(sample.directories),
                f"directories under digest function {function}",
            )
