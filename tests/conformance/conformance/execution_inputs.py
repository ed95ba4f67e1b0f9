# SPDX-License-Identifier: Apache-2.0
"""Rules about what an action finds in its input root."""

from __future__ import annotations

from .context import Context
from .execute import Blobs, File, Job, Link, execute
from .harness import Group, expect_equal
from .messages import api

group = Group("execution")
ROOT = "Action.input_root_digest"


@group.must(
    "EXE-INP-01",
    "Files are where the tree has them, with their content",
    spec=ROOT,
)
def files_are_in_place(context: Context) -> None:
    context.need_execution()
    inputs = {
        "a": b"one\n",
        "d": {"b": b"two\n", "e": {"caf\u00e9 x": b"three\n"}},
    }
    run = Job(context, "cat a d/b 'd/e/caf\u00e9 x'", inputs=inputs).run()
    expect_equal(
        run.expect_success().stdout(), b"one\ntwo\nthree\n", "standard output"
    )


@group.must(
    "EXE-INP-02",
    "Files have their executable bit, and the others have none",
    spec="FileNode.is_executable",
)
def executable_bits_are_kept(context: Context) -> None:
    context.need_execution()
    data = b"#!/bin/sh\necho ran\n"
    inputs = {"no": File(data), "yes": File(data, True)}
    run = Job(
        context,
        "./yes; case $(ls -l no) in -*x*) echo bad;; esac",
        inputs=inputs,
    ).run()
    expect_equal(run.expect_success().stdout(), b"ran\n", "standard output")


@group.must(
    "EXE-INP-03",
    "Symbolic links have their targets, dangling or not",
    spec="SymlinkNode.target",
)
def symlinks_are_kept(context: Context) -> None:
    context.need_execution()
    inputs = {
        "file": b"text\n",
        "d": {"up": Link("../file")},
        "dangling": Link("no/such"),
    }
    run = Job(context, "cat d/up; readlink d/up dangling", inputs=inputs).run()
    expect_equal(
        run.expect_success().stdout(),
        b"text\n../file\nno/such\n",
        "standard output",
    )


@group.must(
    "EXE-INP-04", "Empty directories and empty files are there", spec=ROOT
)
def empty_entries_are_kept(context: Context) -> None:
    context.need_execution()
    inputs = {"dir": {"below": {}}, "file": b""}
    run = Job(
        context,
        "[ -d dir/below ] && [ -f file ] && [ ! -s file ] && echo yes",
        inputs=inputs,
    ).run()
    expect_equal(run.expect_success().stdout(), b"yes\n", "standard output")


@group.must(
    "EXE-INP-05",
    "A directory that is named twice is there twice",
    spec="DirectoryNode.digest",
)
def shared_directories_are_copied(context: Context) -> None:
    context.need_execution()
    shared = {"file": b"text\n", "deep": {"file": b"more\n"}}
    run = Job(
        context,
        "cat a/file b/file b/deep/file a/deep/file",
        inputs={"a": shared, "b": shared},
    ).run()
    expect_equal(
        run.expect_success().stdout(),
        b"text\ntext\nmore\nmore\n",
        "standard output",
    )


@group.must(
    "EXE-INP-06",
    "The command runs in the input root, or in its working directory",
    spec="Command.working_directory",
)
def working_directory_is_kept(context: Context) -> None:
    context.need_execution()
    inputs = {"here": b"root\n", "a": {"b": {"here": b"below\n"}}}
    run = Job(context, "cat here", inputs=inputs).run()
    expect_equal(
        run.expect_success().stdout(), b"root\n", "standard output in the root"
    )
    run = Job(
        context,
        "cat here ../../here",
        inputs=inputs,
        command_fields={"working_directory": "a/b"},
    ).run()
    expect_equal(
        run.expect_success().stdout(),
        b"below\nroot\n",
        "standard output below",
    )


@group.must(
    "EXE-INP-07",
    "The input root may be the empty directory, though never uploaded",
    spec="ContentAddressableStorage, on empty blobs",
)
def input_root_may_be_empty(context: Context) -> None:
    context.need_execution()
    blobs = Blobs(context)
    job = Job(context, "echo fine > out", outputs=["out"])
    command = blobs.add_message(job.command())
    action = blobs.add_message(job.action(command, context.digest(b"")))
    blobs.store()
    run = execute(context, action).expect_success()
    expect_equal(run.data("out"), b"fine\n", "the output file")


@group.practice(
    "EXE-INP-08",
    "What an action does to its inputs is not seen "
    "by another action, nor by the CAS",
    spec=ROOT,
)
def inputs_are_isolated(context: Context) -> None:
    context.need_execution()
    data = context.fresh(32).hex().encode()
    inputs = {"dir": {"file": data, "tool": File(b"#!/bin/sh\n", True)}}
    Job(
        context,
        "chmod -R u+w . ; echo spoiled > dir/file; "
        "echo spoiled >> dir/tool; rm -f dir/file; echo x > dir/new; true",
        inputs=inputs,
    ).run()
    run = Job(context, "cat dir/file; ls dir", inputs=inputs).run()
    expect_equal(
        run.expect_success().stdout(),
        data + b"file\ntool\n",
        "what the next action sees",
    )
    expect_equal(context.get(context.digest(data)), data, "the blob")


@group.practice(
    "EXE-INP-09",
    "Two actions at once do not see each other's files",
    spec=ROOT,
)
def actions_are_isolated(context: Context) -> None:
    context.need_execution()
    actions = [
        Job(context, f"echo {n} > mark; sleep 0.3; cat *", inputs={}).store()
        for n in (1, 2)
    ]
    calls = [
        context.client.open_execute(each, context.settings.execute_deadline)
        for each in actions
    ]
    for number, call in enumerate(calls, 1):
        last = list(call)[-1]
        response = api.ExecuteResponse()
        last.response.Unpack(response)
        found = response.result.stdout_raw or context.get(
            response.result.stdout_digest
        )
        expect_equal(found, f"{number}\n".encode(), "standard output")
