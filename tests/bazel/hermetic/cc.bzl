# SPDX-License-Identifier: Apache-2.0
"""A C compiler at its usual place in the root of the action."""

load(
    "@bazel_tools//tools/cpp:cc_toolchain_config_lib.bzl",
    "feature",
    "flag_group",
    "flag_set",
    "tool_path",
)
load(":roots.bzl", "EXTRA")

TOOLS = ["ar", "cpp", "gcc", "gcov", "ld", "nm", "objdump", "strip"]

def _cc_config_impl(ctx):
    extra = feature(
        name = "extra_headers",
        enabled = True,
        flag_sets = [flag_set(
            actions = ["c-compile"],
            flag_groups = [flag_group(flags = ["-isystem", EXTRA])],
        )],
    )
    return cc_common.create_cc_toolchain_config_info(
        ctx = ctx,
        toolchain_identifier = "gcc-of-the-store",
        host_system_name = "local",
        target_system_name = "local",
        target_cpu = "k8",
        target_libc = "glibc",
        compiler = "gcc",
        abi_version = "gcc",
        abi_libc_version = "glibc",
        tool_paths = [
            tool_path(name = tool, path = "/usr/bin/" + tool)
            for tool in TOOLS
        ],
        cxx_builtin_include_directories = ["/usr/include", "/usr/lib/gcc", EXTRA],
        features = [extra],
    )

cc_config = rule(
    implementation = _cc_config_impl,
    provides = [CcToolchainConfigInfo],
)
