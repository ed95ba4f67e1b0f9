# SPDX-License-Identifier: Apache-2.0
"""Rules about what is collected after an action."""

from __future__ import annotations

from typing import Any

from grpc import StatusCode

from .context import Context
from .execute import Job, Run
from .harness import Failure, Group, Skip, expect, expect_equal
from .messages import api

group = Group("execution")
PATHS = "Command.output_paths"
FILES = "Command.output_files"
DIRECTORIES = "Command.output_directories"
DIRECTORY_ONLY = 1
TREE_AND_DIRECTORY = 2
MAKE_DIRECTORY = (
    "mkdir -p dir/sub/deep dir/empty; echo one > dir/one; "
    "echo two > dir/sub/deep/two; chmod +x dir/one; "
    "ln -s one dir/link"
)


def _run(
    context: Context, script: str, outputs: list[str], **fields: Any
) -> Run:
    context.need_execution()
    job = Job(
        context,
        script,
        outputs=outputs,
        inputs=fields.pop("inputs", {}),
        command_fields=fields,
    )
    return job.run().expect_success()


def listing(tree: Any, context: Context) -> dict[str, Any]:
    """Paths of a Tree: file digests, link targets, None for directories."""
    children = {
        context.digest(each.SerializeToString(deterministic=True)).hash: each
        for each in tree.children
    }
    found: dict[str, Any] = {}

    def walk(directory: Any, prefix: str, depth: int) -> None:
        expect(depth < 100, "the Tree is too deep")
        for file in directory.files:
            found[prefix + file.name] = file.digest
        for link in directory.symlinks:
            found[prefix + link.name] = link.target
        for node in directory.directories:
            found[prefix + node.name] = None
            if node.digest.size_bytes == 0:
                continue
            if node.digest.hash not in children:
                raise Failure(f"{prefix}{node.name} is not in the Tree")
            walk(
                children[node.digest.hash], f"{prefix}{node.name}/", depth + 1
            )

    walk(tree.root, "", 0)
    return found


# --- output_paths -----------------------------------------------------------


@group.must(
    "EXE-PTH-01",
    "An output file is returned under its path, with its content in the CAS",
    spec=PATHS,
)
def output_file_is_returned(context: Context) -> None:
    run = _run(context, "echo text > out; : > empty", ["out", "empty"])
    expect_equal(run.paths(), ["empty", "out"], "output paths")
    expect_equal(run.data("out"), b"text\n", "content")
    expect_equal(run.file("empty").digest.size_bytes, 0, "size of empty")
    digests = [each.digest for each in run.result.output_files]
    expect_equal(context.client.find_missing(digests), [], "missing")


@group.must(
    "EXE-PTH-02",
    "An output file is executable if and only if the action made it so",
    spec="OutputFile.is_executable",
)
def executable_bit_is_returned(context: Context) -> None:
    run = _run(
        context,
        "echo a > no; echo b > yes; chmod 644 no; chmod 755 yes",
        ["no", "yes"],
    )
    expect(run.file("yes").is_executable, "yes is not executable")
    expect(not run.file("no").is_executable, "no is executable")


@group.must(
    "EXE-PTH-03",
    "An output that was not made is left out, and the execution is no failure",
    spec="ActionResult.output_files",
)
def absent_output_is_omitted(context: Context) -> None:
    run = _run(context, "echo text > made", ["made", "no/such", "not-made"])
    expect_equal(run.paths(), ["made"], "output paths")


@group.must(
    "EXE-PTH-04",
    "Directories above an output exist before the command runs",
    spec=PATHS,
)
def parents_are_created(context: Context) -> None:
    run = _run(
        context,
        "echo text > a/b/c/out; [ ! -e d/e ] && : > d/e",
        ["a/b/c/out", "d/e"],
    )
    expect_equal(run.paths(), ["a/b/c/out", "d/e"], "output paths")


@group.must("EXE-PTH-05", "What is not listed is not returned", spec=PATHS)
def unlisted_files_are_discarded(context: Context) -> None:
    run = _run(
        context, "mkdir d; echo 1 > out; echo 2 > other; echo 3 > d/x", ["out"]
    )
    expect_equal(run.paths(), ["out"], "output paths")


@group.must(
    "EXE-PTH-06",
    "Output paths are relative to the working directory",
    spec=PATHS,
)
def outputs_are_in_working_directory(context: Context) -> None:
    run = _run(
        context,
        "echo text > out; echo text > ../out2",
        ["out", "out2", "sub/out"],
        inputs={"work": {"x": b"x"}},
        working_directory="work",
    )
    expect_equal(run.paths(), ["out"], "output paths")


@group.must(
    "EXE-PTH-07",
    "An output directory is returned as a Tree of all it holds",
    spec="ActionResult.output_directories",
)
def output_directory_is_returned(context: Context) -> None:
    run = _run(context, MAKE_DIRECTORY, ["dir"])
    expect_equal(run.paths(), ["dir"], "output paths")
    found = listing(run.tree("dir"), context)
    expect_equal(
        sorted(found),
        ["empty", "link", "one", "sub", "sub/deep", "sub/deep/two"],
        "paths in the Tree",
    )
    expect_equal(found["link"], "one", "target of the link")
    expect_equal(context.get(found["sub/deep/two"]), b"two\n", "content")
    root = run.tree("dir").root
    expect(
        [each.is_executable for each in root.files] == [True],
        "the executable bit is lost",
    )


@group.must(
    "EXE-PTH-08",
    "An output that is a symbolic link is returned as "
    "such, to a file or a directory",
    spec="ActionResult.output_symlinks",
)
def output_symlinks_are_returned(context: Context) -> None:
    run = _run(
        context,
        "echo x > file; mkdir dir; ln -s file a; ln -s dir b",
        ["a", "b"],
    )
    found = {each.path: each.target for each in run.result.output_symlinks}
    expect_equal(found, {"a": "file", "b": "dir"}, "output_symlinks")
    expect_equal(len(run.result.output_files), 0, "number of output files")
    expect_equal(
        len(run.result.output_directories), 0, "number of output directories"
    )


@group.practice(
    "EXE-PTH-09",
    "An output that is a dangling link is returned as a link",
    spec="ActionResult.output_symlinks",
)
def dangling_symlink_is_returned(context: Context) -> None:
    run = _run(context, "ln -s no/such a", ["a"])
    found = [(each.path, each.target) for each in run.result.output_symlinks]
    expect_equal(found, [("a", "no/such")], "output_symlinks")


@group.must(
    "EXE-PTH-10",
    "An input that is listed as output is returned, changed or not",
    spec="ActionResult.output_files",
)
def inputs_can_be_outputs(context: Context) -> None:
    run = _run(context, "true", ["same"], inputs={"same": b"input"})
    expect_equal(run.data("same"), b"input", "content")


@group.must(
    "EXE-PTH-11", "With output_paths, the older fields are ignored", spec=PATHS
)
def older_fields_are_ignored(context: Context) -> None:
    run = _run(
        context,
        "echo 1 > a; echo 2 > b; mkdir d",
        ["a"],
        output_files=["b"],
        output_directories=["d"],
    )
    expect_equal(run.paths(), ["a"], "output paths")


@group.must("EXE-PTH-12", "A large output file is whole", spec=PATHS)
def large_output_is_whole(context: Context) -> None:
    run = _run(context, "head -c 6000000 /dev/zero > out", ["out"])
    expect(run.data("out") == bytes(6_000_000), "the content differs")


@group.must(
    "EXE-PTH-13",
    "Outputs of a failed command are returned too",
    spec="ActionResult.output_files, exit_code",
)
def failed_command_has_outputs(context: Context) -> None:
    context.need_execution()
    run = Job(context, "echo text > out; exit 4", outputs=["out"]).run()
    run.expect_code(StatusCode.OK)
    expect_equal(run.result.exit_code, 4, "exit_code")
    expect_equal(run.data("out"), b"text\n", "content")


# --- output_files, output_directories (deprecated) --------------------------


@group.must(
    "EXE-OLD-01",
    "Files listed in output_files are returned, with "
    "their parents made before",
    spec=FILES,
)
def old_files_are_returned(context: Context) -> None:
    run = _run(
        context,
        "echo text > a/b/out",
        [],
        output_files=["a/b/out", "not-made"],
    )
    expect_equal(run.paths(), ["a/b/out"], "output paths")
    expect_equal(run.data("a/b/out"), b"text\n", "content")


@group.must(
    "EXE-OLD-02",
    "Directories listed in output_directories are "
    "returned; their parents are made before, they are not",
    spec=DIRECTORIES,
)
def old_directories_are_returned(context: Context) -> None:
    run = _run(
        context,
        "[ -d a ] && [ ! -e a/dir ] && mkdir a/dir && echo x > a/dir/x",
        [],
        output_directories=["a/dir", "none"],
    )
    expect_equal(run.paths(), ["a/dir"], "output paths")
    expect_equal(
        sorted(listing(run.tree("a/dir"), context)), ["x"], "paths in the Tree"
    )


@group.must(
    "EXE-OLD-03",
    "The empty output directory is the whole working "
    "directory, inputs included",
    spec=DIRECTORIES,
)
def empty_path_is_everything(context: Context) -> None:
    run = _run(
        context,
        "echo x > made",
        [],
        inputs={"given": b"x"},
        output_directories=[""],
    )
    found = listing(run.tree(""), context)
    expect(set(found) >= {"made", "given"}, f"the Tree has {sorted(found)}")


@group.must(
    "EXE-OLD-04",
    "A directory where output_files has a file is FAILED_PRECONDITION",
    spec="ActionResult.output_files",
)
def directory_for_file_is_refused(context: Context) -> None:
    context.need_execution()
    run = Job(
        context, "mkdir out", command_fields={"output_files": ["out"]}
    ).run()
    run.expect_code(StatusCode.FAILED_PRECONDITION)


@group.must(
    "EXE-OLD-05",
    "A file where output_directories has a directory is FAILED_PRECONDITION",
    spec="ActionResult.output_directories",
)
def file_for_directory_is_refused(context: Context) -> None:
    context.need_execution()
    run = Job(
        context, "echo x > out", command_fields={"output_directories": ["out"]}
    ).run()
    run.expect_code(StatusCode.FAILED_PRECONDITION)


@group.must(
    "EXE-OLD-06",
    "A link to a file in output_files is returned in output_file_symlinks",
    spec="ActionResult.output_file_symlinks",
)
def old_file_symlinks_are_returned(context: Context) -> None:
    run = _run(
        context, "echo x > file; ln -s file link", [], output_files=["link"]
    )
    found = [
        (each.path, each.target) for each in run.result.output_file_symlinks
    ]
    expect_equal(found, [("link", "file")], "output_file_symlinks")


@group.must(
    "EXE-OLD-07",
    "A link to a directory in output_directories is "
    "returned in output_directory_symlinks",
    spec="ActionResult.output_directory_symlinks",
)
def old_directory_symlinks_are_returned(context: Context) -> None:
    run = _run(
        context, "mkdir dir; ln -s dir link", [], output_directories=["link"]
    )
    found = [
        (each.path, each.target)
        for each in run.result.output_directory_symlinks
    ]
    expect_equal(found, [("link", "dir")], "output_directory_symlinks")


@group.must(
    "EXE-OLD-08",
    "A link in output_files to a directory is "
    "FAILED_PRECONDITION, as is one in output_directories to a file",
    spec="ActionResult.output_file_symlinks, output_directory_symlinks",
)
def links_of_the_other_kind_are_refused(context: Context) -> None:
    context.need_execution()
    for field, script in (
        ("output_files", "mkdir x; ln -s x link"),
        ("output_directories", "echo > x; ln -s x link"),
    ):
        run = Job(context, script, command_fields={field: ["link"]}).run()
        run.expect_code(StatusCode.FAILED_PRECONDITION, what=field)


# --- forms of directories, node properties ----------------------------------


@group.should(
    "EXE-DIR-01",
    "A directory is returned in the form asked for",
    spec="Command.output_directory_format",
)
def directory_format_is_kept(context: Context) -> None:
    for form in (0, DIRECTORY_ONLY, TREE_AND_DIRECTORY):
        run = _run(
            context, MAKE_DIRECTORY, ["dir"], output_directory_format=form
        )
        found = run.directory("dir")
        if form != DIRECTORY_ONLY:
            expect(
                found.tree_digest.hash != "",
                f"no tree_digest for format {form}",
            )
        if form != 0:
            expect(
                found.root_directory_digest.hash != ""
                or found.tree_digest.hash != "",
                f"no digest at all for format {form}",
            )
            expect(
                found.root_directory_digest.hash != "",
                f"no root_directory_digest for format {form}",
            )
            _expect_stored(context, found.root_directory_digest)


def _expect_stored(context: Context, root: Any) -> None:
    replies = context.client.get_tree(root)
    directories = [each for reply in replies for each in reply.directories]
    names = sorted(file.name for each in directories for file in each.files)
    expect_equal(names, ["one", "two"], "files below the root directory")


@group.should(
    "EXE-DIR-06",
    "A form that the worker does not know is taken for a Tree",
    spec="Command.output_directory_format",
)
def unknown_format_is_a_tree(context: Context) -> None:
    run = _run(context, MAKE_DIRECTORY, ["dir"], output_directory_format=99)
    names = [each.name for each in run.tree("dir").root.files]
    expect_equal(names, ["one"], "files of the Tree's root")


@group.must(
    "EXE-DIR-02",
    "The root directory's digest is that of the Tree's root",
    spec="OutputDirectory.root_directory_digest",
)
def root_digest_matches_tree(context: Context) -> None:
    run = _run(
        context,
        MAKE_DIRECTORY,
        ["dir"],
        output_directory_format=TREE_AND_DIRECTORY,
    )
    found = run.directory("dir")
    if not (found.tree_digest.hash and found.root_directory_digest.hash):
        raise Skip("the server returns one of the two forms only")
    root = run.tree("dir").root.SerializeToString(deterministic=True)
    expect_equal(
        found.root_directory_digest,
        context.digest(root),
        "root_directory_digest",
    )


@group.should(
    "EXE-DIR-03", "Equal directories have equal Trees", spec="Tree.children"
)
def equal_directories_have_equal_trees(context: Context) -> None:
    script = (
        "mkdir dir; for i in {}; do mkdir dir/$i; echo $i > dir/$i/f; done"
    )
    trees = [
        _run(context, script.format(order), ["dir"]).directory("dir")
        for order in ("1 2 3 4 5", "5 3 1 2 4")
    ]
    expect_equal(trees[0].tree_digest, trees[1].tree_digest, "tree_digest")


@group.must(
    "EXE-DIR-04",
    "A Tree said to be sorted has each directory once, "
    "after a parent of it, in plain records",
    spec="OutputDirectory.is_topologically_sorted",
)
def sorted_tree_is_sorted(context: Context) -> None:
    run = _run(context, MAKE_DIRECTORY + "; cp -r dir/sub dir/copy", ["dir"])
    if not run.directory("dir").is_topologically_sorted:
        raise Skip("the server does not say that its Trees are sorted")
    tree = run.tree("dir")
    named = {node.digest.hash for node in tree.root.directories}
    seen: set[str] = set()
    for child in tree.children:
        key = context.digest(child.SerializeToString(deterministic=True)).hash
        expect(key in named, "a directory comes before its parents")
        expect(key not in seen, "a directory is there twice")
        seen.add(key)
        named |= {node.digest.hash for node in child.directories}
    body = context.get(run.directory("dir").tree_digest)
    expect(body[:1] == b"\x0a", "the first record is not the root")


@group.must(
    "EXE-DIR-05",
    "Directories of a result are in canonical form: sorted, each name once",
    spec="Directory",
)
def result_directories_are_canonical(context: Context) -> None:
    run = _run(
        context,
        "mkdir dir; cd dir; for i in b A a_ a.b a Z \u00e9; "
        "do : > $i; mkdir d$i; ln -s x l$i; done",
        ["dir"],
    )
    for directory in [run.tree("dir").root, *run.tree("dir").children]:
        for kind in (
            directory.files,
            directory.directories,
            directory.symlinks,
        ):
            names = [each.name.encode() for each in kind]
            expect_equal(names, sorted(set(names)), "names")


@group.must(
    "EXE-NPR-01",
    "The unix_mode and mtime of an output are returned "
    "when supported and asked for",
    spec="Command.output_node_properties",
)
def node_properties_are_returned(context: Context) -> None:
    context.need_execution()
    offered = [
        name
        for name in ("mtime", "unix_mode")
        if name in context.execution.supported_node_properties
    ]
    if not offered:
        raise Skip("neither unix_mode nor mtime is advertised")
    run = _run(
        context,
        "echo x > out; chmod 750 out; touch -d '2001-09-09 01:46:40 UTC' out",
        ["out"],
        output_node_properties=offered,
    )
    properties = run.file("out").node_properties
    if "unix_mode" in offered:
        expect_equal(properties.unix_mode.value & 0o7777, 0o750, "unix_mode")
    if "mtime" in offered:
        expect_equal(properties.mtime.seconds, 1_000_000_000, "mtime")


@group.practice(
    "EXE-NPR-02",
    "Node properties are not returned unasked, so "
    "that equal files are equal results",
    spec="OutputFile.node_properties",
)
def node_properties_need_asking(context: Context) -> None:
    run = _run(
        context, "echo x > out; mkdir dir; echo x > dir/x", ["dir", "out"]
    )
    expect(
        not run.file("out").HasField("node_properties"),
        "the output file has node properties",
    )
    root = run.tree("dir").root
    expect(
        root.files[0] == api.FileNode(name="x", digest=root.files[0].digest),
        "the file in the directory has node properties",
    )
