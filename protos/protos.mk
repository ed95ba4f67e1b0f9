# SPDX-License-Identifier: Apache-2.0
#
# Turns the .proto files below protos/ into C with protoc-c, and into the
# descriptor set that gRPC reflection hands out. Included by the top Makefile
# after BUILD, CC, CPPFLAGS and PROTO_CFLAGS are set. Offers:
#   PROTO_FILES  the project's .proto files, seen from the top folder
#   PROTO_STAMP  what must exist before anything that includes the generated
#                headers is compiled (order-only): those headers
#   $(BUILD)/libprotos.a  all of it and protos/*.c; needs -lprotobuf-c
# Code includes the generated headers with -isystem $(BUILD)/protos.

PROTO_NAMES = \
	build/bazel/remote/asset/v1/remote_asset \
	build/bazel/remote/execution/v2/remote_execution \
	build/bazel/remote/logstream/v1/remote_logstream \
	build/bazel/semver/semver \
	google/bytestream/bytestream \
	google/longrunning/operations \
	google/rpc/code \
	google/rpc/error_details \
	google/rpc/status \
	grpc/health/v1/health \
	grpc/reflection/v1/reflection \
	grpc/reflection/v1alpha/reflection \
	toolroot/admin/v1/admin \
	toolroot/explain/v1/explain \
	toolroot/toolchain/v1/toolchain \
	toolroot/worker/v1/worker

# Well-known types that ours import; protobuf's development files carry them.
PROTO_SYSTEM_NAMES = $(addprefix google/protobuf/, \
	any duration empty timestamp wrappers)

PROTOC ?= protoc
PROTOC_C ?= protoc-c
PROTO_SYSTEM_DIR ?= $(shell pkg-config --variable=includedir protobuf)

PROTO_FILES = $(PROTO_NAMES:%=protos/%.proto)
PROTO_INPUTS = $(addsuffix .proto,$(PROTO_NAMES) $(PROTO_SYSTEM_NAMES))
PROTO_STEMS = $(addprefix $(BUILD)/protos/, \
	$(PROTO_NAMES) $(PROTO_SYSTEM_NAMES))
PROTO_SOURCES = $(PROTO_STEMS:%=%.pb-c.c)
PROTO_HEADERS = $(PROTO_STEMS:%=%.pb-c.h)
PROTO_OBJECTS = $(PROTO_STEMS:%=%.pb-c.o) $(BUILD)/protos/descriptor_set.o
PROTO_STAMP = $(PROTO_HEADERS)
PROTO_PATHS = -Iprotos -I$(PROTO_SYSTEM_DIR)

# One run makes all: the C names in a file depend on the files it imports.
$(PROTO_SOURCES) $(PROTO_HEADERS) &: $(PROTO_FILES) protos/protos.mk
	@mkdir -p $(BUILD)/protos
	$(call say,GEN,$(BUILD)/protos)
	$(Q)$(PROTOC_C) $(PROTO_PATHS) --c_out=$(BUILD)/protos $(PROTO_INPUTS)

# With imports, so that a tool can load every file it is given.
$(BUILD)/protos/descriptors.bin: $(PROTO_FILES) protos/protos.mk
	@mkdir -p $(@D)
	$(call say,GEN,$@)
	$(Q)$(PROTOC) $(PROTO_PATHS) --include_imports \
	    --descriptor_set_out=$@ $(PROTO_INPUTS)

$(BUILD)/protos/descriptor_set.c: $(BUILD)/protos/descriptors.bin
	$(call say,GEN,$@)
	$(Q){ \
		echo '#include "protos/descriptor_set.h"'; \
		echo 'const unsigned char descriptor_set[] = {'; \
		od -An -v -tx1 $< | sed 's/[0-9a-f][0-9a-f]/0x&,/g'; \
		echo '};'; \
		echo 'const size_t descriptor_set_size ='; \
		echo '    sizeof(descriptor_set);'; \
	} > $@.tmp
	$(Q)mv $@.tmp $@

$(BUILD)/protos/descriptor_set.o: protos/descriptor_set.h

# Generated files include one another freely, so each depends on all headers.
$(PROTO_OBJECTS): %.o: %.c $(PROTO_HEADERS)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) -I$(BUILD)/protos $(PROTO_CFLAGS) -c -o $@ $<

# Our own helpers in this folder, compiled like any other code of ours.
PROTO_HELPERS = $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard protos/*.c)))
-include $(PROTO_HELPERS:.o=.d)

$(BUILD)/libprotos.a: $(PROTO_OBJECTS) $(PROTO_HELPERS)
	@rm -f $@
	$(call say,AR,$@)
	$(Q)$(AR) rcs $@ $^
