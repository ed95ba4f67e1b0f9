# SPDX-License-Identifier: Apache-2.0
"""Calls on one channel: every method of the API, each with a deadline.

Methods are reached by their paths, so no generated stub is needed. Receive
limits are those of gRPC by default (4 MiB), since that is what clients have;
send limits are raised, so that the server's own limits are what is tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import grpc

from .messages import api, bytestream, longrunning, protobuf

Metadata = Sequence[tuple[str, str | bytes]]

_API = "/build.bazel.remote.execution.v2."
_CAS = _API + "ContentAddressableStorage/"
_BYTES = "/google.bytestream.ByteStream/"
_OPERATIONS = "/google.longrunning.Operations/"
_SEND_LIMIT = 80 << 20
MESSAGE_PIECE = 1 << 20


def _serialize(message: Any) -> bytes:
    if isinstance(message, bytes):
        return message
    encoded: bytes = message.SerializeToString()
    return encoded


def open_channel(
    address: str,
    ca: bytes | None = None,
    certificate: tuple[bytes, bytes] | None = None,
    own_connection: bool = False,
) -> grpc.Channel:
    """A channel to host:port; with TLS when ca is given, where b"" stands
    for the roots that gRPC itself knows."""
    options = [
        ("grpc.max_send_message_length", _SEND_LIMIT),
        ("grpc.enable_retries", 0),
    ]
    if own_connection:
        options.append(("grpc.use_local_subchannel_pool", 1))
    if ca is None:
        return grpc.insecure_channel(address, options)
    chain, key = certificate if certificate else (None, None)
    credentials = grpc.ssl_channel_credentials(ca or None, key, chain)
    return grpc.secure_channel(address, credentials, options)


class Client:
    """The services of one instance of a server."""

    def __init__(
        self, channel: grpc.Channel, instance: str, deadline: float
    ) -> None:
        self.channel = channel
        self.instance = instance
        self.deadline = deadline

    # Plain calls by path; a request may be raw bytes.

    def unary(
        self,
        path: str,
        request: Any,
        reply: Any,
        metadata: Metadata = (),
        timeout: float = 0,
    ) -> Any:
        """One request, one reply."""
        call = self.channel.unary_unary(path, _serialize, reply.FromString)
        return call(
            request, timeout=timeout or self.deadline, metadata=metadata
        )

    def server_stream(
        self,
        path: str,
        request: Any,
        reply: Any,
        metadata: Metadata = (),
        timeout: float = 0,
    ) -> Any:
        """One request; the call returned iterates over replies."""
        call = self.channel.unary_stream(path, _serialize, reply.FromString)
        return call(
            request, timeout=timeout or self.deadline, metadata=metadata
        )

    def client_stream(
        self,
        path: str,
        requests: Iterable[Any],
        reply: Any,
        metadata: Metadata = (),
        timeout: float = 0,
    ) -> Any:
        """Many requests, one reply."""
        call = self.channel.stream_unary(path, _serialize, reply.FromString)
        return call(
            iter(requests), timeout=timeout or self.deadline, metadata=metadata
        )

    # Capabilities.

    def capabilities(self, metadata: Metadata = ()) -> Any:
        """ServerCapabilities of the instance."""
        return self.unary(
            _API + "Capabilities/GetCapabilities",
            api.GetCapabilitiesRequest(instance_name=self.instance),
            api.ServerCapabilities,
            metadata,
        )

    # ContentAddressableStorage.

    def find_missing(
        self, digests: Iterable[Any], function: int = 0, timeout: float = 0
    ) -> list[Any]:
        """The digests of those that the server does not have."""
        request = api.FindMissingBlobsRequest(
            instance_name=self.instance,
            blob_digests=digests,
            digest_function=function,
        )
        reply = self.unary(
            _CAS + "FindMissingBlobs",
            request,
            api.FindMissingBlobsResponse,
            timeout=timeout,
        )
        return list(reply.missing_blob_digests)

    def batch_update(
        self,
        blobs: Iterable[tuple[Any, bytes]],
        compressor: int = 0,
        function: int = 0,
    ) -> list[Any]:
        """Responses of BatchUpdateBlobs for (digest, data) pairs."""
        request = api.BatchUpdateBlobsRequest(
            instance_name=self.instance, digest_function=function
        )
        for digest, data in blobs:
            request.requests.add(
                digest=digest, data=data, compressor=compressor
            )
        reply = self.unary(
            _CAS + "BatchUpdateBlobs", request, api.BatchUpdateBlobsResponse
        )
        return list(reply.responses)

    def batch_read(
        self,
        digests: Iterable[Any],
        compressors: Sequence[int] = (),
        function: int = 0,
    ) -> list[Any]:
        """Responses of BatchReadBlobs."""
        request = api.BatchReadBlobsRequest(
            instance_name=self.instance,
            digests=digests,
            acceptable_compressors=compressors,
            digest_function=function,
        )
        reply = self.unary(
            _CAS + "BatchReadBlobs", request, api.BatchReadBlobsResponse
        )
        return list(reply.responses)

    def get_tree(
        self, root: Any, page_size: int = 0, token: str = "", function: int = 0
    ) -> list[Any]:
        """All responses of one GetTree call."""
        request = api.GetTreeRequest(
            instance_name=self.instance,
            root_digest=root,
            page_size=page_size,
            page_token=token,
            digest_function=function,
        )
        return list(
            self.server_stream(_CAS + "GetTree", request, api.GetTreeResponse)
        )

    def split_blob(self, digest: Any, chunking: int = 0) -> Any:
        """SplitBlobResponse for one blob."""
        request = api.SplitBlobRequest(
            instance_name=self.instance,
            blob_digest=digest,
            chunking_function=chunking,
        )
        return self.unary(_CAS + "SplitBlob", request, api.SplitBlobResponse)

    def splice_blob(self, digest: Any, chunks: Iterable[Any]) -> Any:
        """SpliceBlobResponse for a blob made of chunks."""
        request = api.SpliceBlobRequest(
            instance_name=self.instance,
            blob_digest=digest,
            chunk_digests=chunks,
        )
        return self.unary(_CAS + "SpliceBlob", request, api.SpliceBlobResponse)

    # ByteStream.

    def read(
        self,
        name: str,
        offset: int = 0,
        limit: int = 0,
        metadata: Metadata = (),
    ) -> bytes:
        """All the data that a Read returns."""
        request = bytestream.ReadRequest(
            resource_name=name, read_offset=offset, read_limit=limit
        )
        replies = self.server_stream(
            _BYTES + "Read", request, bytestream.ReadResponse, metadata
        )
        return b"".join(reply.data for reply in replies)

    def open_read(self, name: str) -> Any:
        """A Read call that the caller iterates over, or leaves alone."""
        request = bytestream.ReadRequest(resource_name=name)
        return self.server_stream(
            _BYTES + "Read", request, bytestream.ReadResponse
        )

    def write(
        self,
        requests: Iterable[Any],
        metadata: Metadata = (),
        timeout: float = 0,
    ) -> int:
        """committed_size of a Write made of these requests."""
        reply = self.client_stream(
            _BYTES + "Write",
            requests,
            bytestream.WriteResponse,
            metadata,
            timeout,
        )
        return int(reply.committed_size)

    def open_write(self, requests: Iterable[Any]) -> Any:
        """A Write call in flight, as a future."""
        call = self.channel.stream_unary(
            _BYTES + "Write", _serialize, bytestream.WriteResponse.FromString
        )
        return call.future(iter(requests), timeout=self.deadline)

    def write_all(
        self,
        name: str,
        data: bytes,
        piece: int = MESSAGE_PIECE,
        metadata: Metadata = (),
    ) -> int:
        """Write data in pieces, the usual way; returns committed_size."""
        return self.write(write_requests(name, data, piece), metadata)

    def write_status(self, name: str) -> Any:
        """QueryWriteStatusResponse."""
        request = bytestream.QueryWriteStatusRequest(resource_name=name)
        return self.unary(
            _BYTES + "QueryWriteStatus",
            request,
            bytestream.QueryWriteStatusResponse,
        )

    # ActionCache.

    def get_result(
        self,
        digest: Any,
        stdout: bool = False,
        stderr: bool = False,
        files: Sequence[str] = (),
        function: int = 0,
    ) -> Any:
        """The cached ActionResult of an action."""
        request = api.GetActionResultRequest(
            instance_name=self.instance,
            action_digest=digest,
            inline_stdout=stdout,
            inline_stderr=stderr,
            inline_output_files=files,
            digest_function=function,
        )
        return self.unary(
            _API + "ActionCache/GetActionResult", request, api.ActionResult
        )

    def update_result(
        self, digest: Any, result: Any, function: int = 0, **fields: Any
    ) -> Any:
        """Store an ActionResult."""
        request = api.UpdateActionResultRequest(
            instance_name=self.instance,
            action_digest=digest,
            action_result=result,
            digest_function=function,
            **fields,
        )
        return self.unary(
            _API + "ActionCache/UpdateActionResult", request, api.ActionResult
        )

    # Execution and longrunning Operations.

    def open_execute(
        self,
        digest: Any,
        timeout: float,
        metadata: Metadata = (),
        **fields: Any,
    ) -> Any:
        """An Execute call that iterates over operations."""
        request = api.ExecuteRequest(
            instance_name=self.instance, action_digest=digest, **fields
        )
        return self.server_stream(
            _API + "Execution/Execute",
            request,
            longrunning.Operation,
            metadata,
            timeout=timeout,
        )

    def open_wait(self, name: str, timeout: float) -> Any:
        """A WaitExecution call that iterates over operations."""
        return self.server_stream(
            _API + "Execution/WaitExecution",
            api.WaitExecutionRequest(name=name),
            longrunning.Operation,
            timeout=timeout,
        )

    def get_operation(self, name: str) -> Any:
        """The state of an operation."""
        return self.unary(
            _OPERATIONS + "GetOperation",
            longrunning.GetOperationRequest(name=name),
            longrunning.Operation,
        )

    def list_operations(
        self, name: str, token: str = "", page_size: int = 0
    ) -> Any:
        """One page of the operations below a name."""
        request = longrunning.ListOperationsRequest(
            name=name, page_token=token, page_size=page_size
        )
        return self.unary(
            _OPERATIONS + "ListOperations",
            request,
            longrunning.ListOperationsResponse,
        )

    def wait_operation(self, name: str, seconds: float) -> Any:
        """The state of an operation when it ends, or after so long."""
        request = longrunning.WaitOperationRequest(name=name)
        request.timeout.seconds = int(seconds)
        request.timeout.nanos = int(seconds % 1 * 1e9)
        return self.unary(
            _OPERATIONS + "WaitOperation", request, longrunning.Operation
        )

    def delete_operation(self, name: str) -> Any:
        """Forget an operation."""
        return self.unary(
            _OPERATIONS + "DeleteOperation",
            longrunning.DeleteOperationRequest(name=name),
            protobuf.Empty,
        )

    def cancel_operation(self, name: str) -> Any:
        """Ask for the end of an operation."""
        return self.unary(
            _OPERATIONS + "CancelOperation",
            longrunning.CancelOperationRequest(name=name),
            protobuf.Empty,
        )


def write_requests(
    name: str,
    data: bytes,
    piece: int = MESSAGE_PIECE,
    offset: int = 0,
    finish: bool = True,
) -> Iterator[Any]:
    """WriteRequests for `data`; the name goes with the first only."""
    sent = 0
    first = True
    while first or sent < len(data):
        part = data[sent : sent + piece]
        last = sent + len(part) >= len(data)
        yield bytestream.WriteRequest(
            resource_name=name if first else "",
            write_offset=offset + sent,
            data=part,
            finish_write=finish and last,
        )
        sent += len(part)
        first = False
