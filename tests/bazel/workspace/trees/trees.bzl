# SPDX-License-Identifier: Apache-2.0
"""Rules whose output is a whole directory (a tree artifact)."""

def _pages_impl(ctx):
    pages = ctx.actions.declare_directory(ctx.label.name)
    ctx.actions.run_shell(
        outputs = [pages],
        inputs = [ctx.file.text],
        mnemonic = "Pages",
        arguments = [ctx.file.text.path, pages.path],
        command = """
            number=0
            mkdir -p "$2/chapters/first" "$2/notes"
            while read -r line; do
                number=$((number + 1))
                echo "$line" > "$2/chapters/first/$number.txt"
            done < "$1"
            : > "$2/notes/blank.txt"
            printf '#!/bin/sh\\necho %s pages\\n' $number > "$2/colophon"
            chmod +x "$2/colophon"
            ln -s chapters/first/1.txt "$2/cover.txt"
        """,
    )
    return [DefaultInfo(
        files = depset([pages]),
        runfiles = ctx.runfiles([pages]),
    )]

pages = rule(
    doc = "Puts each line of a text on a page of its own, in a directory.",
    implementation = _pages_impl,
    attrs = {"text": attr.label(allow_single_file = True, mandatory = True)},
)

def _contents_impl(ctx):
    ctx.actions.run_shell(
        outputs = [ctx.outputs.out],
        inputs = [ctx.file.pages],
        mnemonic = "Contents",
        arguments = [ctx.file.pages.path, ctx.outputs.out.path],
        command = """
            { (cd "$1" && find . ! -type d | LC_ALL=C sort)
              cat "$1/cover.txt"
              "$1/colophon"; } > "$2"
        """,
    )
    return [DefaultInfo(
        files = depset([ctx.outputs.out]),
        runfiles = ctx.runfiles([ctx.outputs.out]),
    )]

contents = rule(
    doc = "Lists what is in a directory that another rule has made.",
    implementation = _contents_impl,
    attrs = {
        "pages": attr.label(allow_single_file = True, mandatory = True),
        "out": attr.output(mandatory = True),
    },
)
