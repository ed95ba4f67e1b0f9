/* SPDX-License-Identifier: Apache-2.0 */
/* The writing half of the fake storage server's ByteStream. Included by
 * fake_cas.h alone, behind the server's state. */
#ifndef TOOLROOT_TESTS_FAKE_WRITE_H
#define TOOLROOT_TESTS_FAKE_WRITE_H

struct fake_write {
	bool begun;
	bool zstd;
	bool broken;
	struct digest digest;
	size_t break_at;
	struct buffer content; /* received so far */
	struct buffer name;
};

static inline void
fake_write_clear(struct fake_write *write)
{
	buffer_clear(&write->content);
	buffer_clear(&write->name);
}

static inline void
fake_write_answer(struct rpc_call *call, int64_t committed)
{
	Bytestream__WriteResponse response = BYTESTREAM__WRITE_RESPONSE__INIT;

	response.committed_size = committed;
	rpc_call_reply_packed(call, &response.base);
}

/* With the lock. */
static inline void
fake_write_begin(
    struct fake_write *write, const Bytestream__WriteRequest *request)
{
	struct str name = {(const char *)request->resource_name.data,
	    request->resource_name.len};

	write->begun = true;
	write->digest = fake_resource(name, &write->zstd);
	write->break_at = SIZE_MAX;
	if (fake.break_streams > 0) {
		fake.break_streams--;
		write->break_at = fake.break_after;
	}
	fake.writes++;
	fake.saw_zstd = write->zstd;
	fake.last_offset = request->write_offset;
	buffer_init(&write->name, 4096);
	buffer_init(&write->content, 64 << 20);
	assert_int_equal(buffer_append(&write->name, name.data, name.len), 0);
	if (str_equal(buffer_str(&fake.partial_name), name))
		assert_int_equal(buffer_append(&write->content,
				     fake.partial.data, fake.partial.len),
		    0);
}

/* With the lock. */
static inline void
fake_write_break(const struct fake_write *write)
{
	buffer_reset(&fake.partial_name);
	buffer_reset(&fake.partial);
	assert_int_equal(buffer_append(&fake.partial_name, write->name.data,
			     write->name.len),
	    0);
	assert_int_equal(buffer_append(&fake.partial, write->content.data,
			     write->content.len),
	    0);
}

/* With the lock. The blob is whole: 0, or the code to refuse it with. */
static inline int
fake_write_end(struct fake_write *write)
{
	struct str bytes = buffer_str(&write->content);
	char *plain = NULL;
	struct digest actual;

	if (write->zstd) {
		size_t len;

		/* Streams say no size: go by the digest. */
		plain = xmalloc(write->digest.size + 1);
		len = ZSTD_decompress(
		    plain, write->digest.size + 1, bytes.data, bytes.len);
		bytes = (struct str){plain, ZSTD_isError(len) ? 0 : len};
	}
	digest_compute(DIGEST_SHA256, bytes.data, bytes.len, &actual);
	if (digest_equal(&actual, &write->digest))
		fake_blobs_add(&fake.blobs, bytes);
	free(plain);
	return digest_equal(&actual, &write->digest) ? 0
						     : ERROR_INVALID_ARGUMENT;
}

static inline void fake_write_received(
    struct rpc_call *call, struct rpc_message *message, void *cookie);

static inline void
fake_write_fail(struct rpc_call *call, int code)
{
	struct error err;

	error_set(&err, (enum error_code)code, "the upload failed");
	rpc_call_finish(call, &err);
}

static inline void
fake_write_message(struct rpc_call *call, struct fake_write *write,
    const Bytestream__WriteRequest *request)
{
	int code = -1;

	fake_lock();
	if (!write->begun)
		fake_write_begin(write, request);
	if (request->write_offset != (int64_t)write->content.len)
		code = ERROR_OUT_OF_RANGE;
	else if (buffer_append(&write->content, request->data.data,
		     request->data.len) < 0)
		code = ERROR_INTERNAL;
	else if (write->content.len >= write->break_at)
		code = ERROR_UNAVAILABLE;
	else if (request->finish_write)
		code = fake_write_end(write);
	if (code == ERROR_UNAVAILABLE)
		fake_write_break(write);
	fake.received += request->data.len;
	fake_unlock();
	if (code < 0 && !fake.early_answer) {
		rpc_call_receive(call, fake_write_received, write);
		return;
	}
	fake_write_clear(write);
	if (code > 0)
		fake_write_fail(call, code);
	else
		fake_write_answer(
		    call, write->zstd ? -1 : (int64_t)write->digest.size);
}

static inline void
fake_write_received(
    struct rpc_call *call, struct rpc_message *message, void *cookie)
{
	Bytestream__WriteRequest *request;
	struct arena arena;
	struct error err;

	if (message == NULL) {
		fake_write_clear(cookie);
		fake_write_fail(call, ERROR_CANCELLED);
		return;
	}
	arena_init(&arena, 16 << 20);
	request = rpc_message_unpack(
	    message, &bytestream__write_request__descriptor, &arena, &err);
	if (request == NULL)
		abort();
	fake_write_message(call, cookie, request);
	arena_clear(&arena);
	rpc_message_free(message);
}

static inline void
fake_write(struct rpc_call *call, void *service)
{
	(void)service;
	rpc_call_receive(call, fake_write_received,
	    fake_take(call, sizeof(struct fake_write)));
}

static inline void
fake_query_status(struct rpc_call *call, void *service)
{
	Bytestream__QueryWriteStatusResponse reply =
	    BYTESTREAM__QUERY_WRITE_STATUS_RESPONSE__INIT;
	Bytestream__QueryWriteStatusRequest *request = fake_request(
	    call, &bytestream__query_write_status_request__descriptor);

	(void)service;
	if (request == NULL)
		return;
	fake_lock();
	fake.statuses++;
	if (str_equal(buffer_str(&fake.partial_name),
		(struct str){(const char *)request->resource_name.data,
		    request->resource_name.len}))
		reply.committed_size = (int64_t)fake.partial.len;
	fake_unlock();
	rpc_call_reply_packed(call, &reply.base);
}

#endif
