# SPDX-License-Identifier: Apache-2.0
"""Rules of the Capabilities service."""

from __future__ import annotations

from typing import Any

from grpc import StatusCode

from .context import MESSAGE_LIMIT, Context
from .digests import digest_of
from .execute import execute
from .harness import Group, Skip, expect, expect_equal
from .messages import api

group = Group("capabilities")
CACHE = "CacheCapabilities"
EXECUTION = "ExecutionCapabilities"


def _version(value: Any) -> tuple[int, int, int]:
    return value.major, value.minor, value.patch


@group.must(
    "CAP-VER-01",
    "The lowest version is not above the highest",
    spec="ServerCapabilities.low_api_version, high_api_version",
)
def version_range_is_ordered(context: Context) -> None:
    answer = context.capabilities
    expect(answer.HasField("low_api_version"), "low_api_version is unset")
    expect(answer.HasField("high_api_version"), "high_api_version is unset")
    expect(
        _version(answer.low_api_version) <= _version(answer.high_api_version),
        "low_api_version is above high_api_version",
    )


@group.must(
    "CAP-VER-02",
    "The version range includes some version 2",
    spec="ServerCapabilities.low_api_version, high_api_version",
)
def version_two_is_served(context: Context) -> None:
    answer = context.capabilities
    expect(
        answer.low_api_version.major <= 2 <= answer.high_api_version.major,
        "version 2 is out of the range",
    )


@group.must(
    "CAP-VER-03",
    "Deprecated versions are older than the others",
    spec="ServerCapabilities.deprecated_api_version",
)
def deprecated_version_is_older(context: Context) -> None:
    answer = context.capabilities
    if not answer.HasField("deprecated_api_version"):
        raise Skip("no deprecated version is advertised")
    expect(
        _version(answer.deprecated_api_version)
        <= _version(answer.low_api_version),
        "deprecated_api_version is above low_api_version",
    )


@group.must(
    "CAP-SVC-01",
    "A server with a CAS describes its cache",
    spec="Capabilities.GetCapabilities",
)
def cache_capabilities_are_present(context: Context) -> None:
    context.client.find_missing([])
    expect(
        context.capabilities.HasField("cache_capabilities"),
        "FindMissingBlobs is served, cache_capabilities is unset",
    )


@group.must(
    "CAP-SVC-03",
    "A server that executes describes its execution",
    spec="Capabilities.GetCapabilities",
)
def execution_capabilities_are_present(context: Context) -> None:
    outcome = execute(context, context.absent())
    if outcome.code != StatusCode.FAILED_PRECONDITION:
        raise Skip(f"Execute of an absent action is {outcome.code.name}")
    expect(
        context.capabilities.HasField("execution_capabilities"),
        "Execute is served, execution_capabilities is unset",
    )


@group.must(
    "CAP-SVC-02",
    "Answers do not change from call to call",
    spec="Capabilities.GetCapabilities",
)
def answers_are_stable(context: Context) -> None:
    expect_equal(
        context.client.capabilities(),
        context.capabilities,
        "the second answer",
    )


@group.must(
    "CAP-DIG-01",
    "At least one digest function is announced, and UNKNOWN never is",
    spec=CACHE + ".digest_functions",
)
def digest_functions_are_known(context: Context) -> None:
    announced = list(context.cache.digest_functions)
    expect(bool(announced), "digest_functions is empty")
    expect(0 not in announced, "digest_functions contains UNKNOWN")
    expect_equal(
        len(set(announced)), len(announced), "distinct digest functions"
    )


@group.must(
    "CAP-DIG-02",
    "The executor's digest function is not UNKNOWN",
    spec=EXECUTION + ".digest_function",
)
def executor_function_is_known(context: Context) -> None:
    context.need_execution()
    expect(
        context.execution.digest_function != 0, "digest_function is UNKNOWN"
    )


@group.must(
    "CAP-DIG-03",
    "The executor's list of digest functions contains its single one",
    spec=EXECUTION + ".digest_functions",
)
def executor_functions_agree(context: Context) -> None:
    context.need_execution()
    announced = list(context.execution.digest_functions)
    if not announced:
        raise Skip("ExecutionCapabilities.digest_functions is unset")
    expect(
        context.execution.digest_function in announced,
        f"{context.execution.digest_function} is not in {announced}",
    )
    expect(0 not in announced, "digest_functions contains UNKNOWN")


@group.practice(
    "CAP-DIG-04",
    "The executor announces no digest function that the cache lacks",
    spec=EXECUTION + ".digest_functions",
)
def executor_functions_are_in_cache(context: Context) -> None:
    context.need_execution()
    extra = set(context.execution.digest_functions) - set(
        context.cache.digest_functions
    )
    expect(not extra, f"only the executor announces {sorted(extra)}")


@group.must(
    "CAP-DIG-05",
    "Each announced digest function stores, finds and "
    "returns a blob without being named in the request",
    spec="DigestFunction; inference by hash length",
)
def functions_are_inferred(context: Context) -> None:
    _round_trip(context, named=False)


@group.must(
    "CAP-DIG-06",
    "Each announced digest function stores, finds and "
    "returns a blob when the request names it",
    spec="BatchUpdateBlobsRequest.digest_function",
)
def functions_can_be_named(context: Context) -> None:
    _round_trip(context, named=True)


def _round_trip(context: Context, named: bool) -> None:
    client = context.client
    for function in context.functions():
        data = context.fresh()
        digest = digest_of(data, function)
        given = function if named else 0
        what = f"digest function {function}"
        expect_equal(
            client.find_missing([digest], given),
            [digest],
            f"{what}, missing before",
        )
        stored = client.batch_update([(digest, data)], function=given)
        expect_equal(
            [each.status.code for each in stored],
            [0],
            f"{what}, BatchUpdateBlobs",
        )
        expect_equal(
            client.find_missing([digest], given), [], f"{what}, missing after"
        )
        read = client.batch_read([digest], function=given)
        expect_equal(
            [each.data for each in read], [data], f"{what}, BatchReadBlobs"
        )
        expect_equal(
            client.read(context.read_name(digest)),
            data,
            f"{what}, ByteStream Read",
        )


@group.must(
    "CAP-BAT-01",
    "The batch limit is not negative",
    spec=CACHE + ".max_batch_total_size_bytes",
)
def batch_limit_is_not_negative(context: Context) -> None:
    limit = context.cache.max_batch_total_size_bytes
    expect(limit >= 0, f"the limit is {limit}")


@group.must(
    "CAP-BAT-02",
    "A batch of exactly the advertised size can be uploaded",
    spec=CACHE + ".max_batch_total_size_bytes",
)
def full_batch_is_accepted(context: Context) -> None:
    data = context.fresh(context.batch_limit())
    stored = context.client.batch_update([(context.digest(data), data)])
    expect_equal(
        [each.status.code for each in stored], [0], "status of the blob"
    )


@group.practice(
    "CAP-BAT-03",
    "A batch of exactly the advertised size can "
    "be downloaded within gRPC's default message limit",
    spec=CACHE + ".max_batch_total_size_bytes",
)
def full_batch_fits_default_message(context: Context) -> None:
    limit = context.batch_limit()
    expect(
        limit < MESSAGE_LIMIT,
        f"{limit} bytes never fit a message of "
        f"{MESSAGE_LIMIT} bytes, the default of gRPC clients",
    )
    half = context.put(context.fresh(limit // 2))
    rest = context.put(context.fresh(limit - limit // 2))
    read = context.client.batch_read([half, rest])
    expect_equal(
        [each.status.code for each in read], [0, 0], "status of the blobs"
    )


@group.must(
    "CAP-BLB-01",
    "The limit on blob sizes is not negative",
    spec=CACHE + ".max_cas_blob_size_bytes",
)
def blob_limit_is_not_negative(context: Context) -> None:
    limit = context.cache.max_cas_blob_size_bytes
    expect(limit >= 0, f"the limit is {limit}")


@group.must(
    "CAP-SYM-01",
    "How absolute symlink targets are treated is told",
    spec=CACHE + ".symlink_absolute_path_strategy",
)
def symlink_strategy_is_known(context: Context) -> None:
    strategy = context.cache.symlink_absolute_path_strategy
    expect(strategy != 0, "symlink_absolute_path_strategy is UNKNOWN")


@group.must(
    "CAP-PRI-01",
    "Priority ranges have their minimum first",
    spec="PriorityCapabilities.PriorityRange",
)
def priority_ranges_are_ordered(context: Context) -> None:
    ranges = [
        *context.cache.cache_priority_capabilities.priorities,
        *context.execution.execution_priority_capabilities.priorities,
    ]
    for each in ranges:
        expect(
            each.min_priority <= each.max_priority,
            f"the range {each.min_priority}..{each.max_priority} is empty",
        )


@group.must(
    "CAP-CHK-01",
    "The FastCDC chunk size is within 1 KiB and 1 MiB",
    spec="FastCdc2020Params.avg_chunk_size_bytes",
)
def fastcdc_size_is_in_range(context: Context) -> None:
    if not context.cache.HasField("fast_cdc_2020_params"):
        raise Skip("FastCDC is not advertised")
    size = context.cache.fast_cdc_2020_params.avg_chunk_size_bytes
    expect(1 << 10 <= size <= 1 << 20, f"the chunk size is {size}")


@group.must(
    "CAP-CHK-02",
    "The RepMaxCDC minimum is at least 64 bytes",
    spec="RepMaxCdcParams.min_chunk_size_bytes",
)
def repmax_minimum_is_in_range(context: Context) -> None:
    if not context.cache.HasField("rep_max_cdc_params"):
        raise Skip("RepMaxCDC is not advertised")
    size = context.cache.rep_max_cdc_params.min_chunk_size_bytes
    expect(size >= 64, f"the minimum is {size}")


@group.must(
    "CAP-MET-01", "Calls may carry RequestMetadata", spec="RequestMetadata"
)
def request_metadata_is_accepted(context: Context) -> None:
    metadata = api.RequestMetadata(
        tool_details={"tool_name": "conformance", "tool_version": "1"},
        action_id="action",
        tool_invocation_id="invocation",
        correlated_invocations_id="correlated",
        action_mnemonic="Test",
        target_id="//:target",
        configuration_id="configuration",
    )
    key = "build.bazel.remote.execution.v2.requestmetadata-bin"
    context.client.capabilities([(key, metadata.SerializeToString())])


@group.practice(
    "CAP-INS-01",
    "The empty instance name is valid",
    spec="GetCapabilitiesRequest.instance_name",
)
def empty_instance_is_valid(context: Context) -> None:
    if context.settings.instance:
        raise Skip("an instance name was given")
    expect(
        context.capabilities.HasField("cache_capabilities"),
        "the empty instance has no cache",
    )
