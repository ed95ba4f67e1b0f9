#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A real Bazel builds and tests a real workspace by remote execution: from
# nothing, from the cache, after an edit, without downloads; and what fails
# is told as Bazel tells it of a local action.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$ROOT/tests/bazel/lib.sh"

plan 44

# All processes of //..., as `bazel test --config=cache //...` counts them.
all=84

exec_log=$WORK/executed.json

remote() {
	local name=$1 command=$2
	shift 2
	bazel_run "$name" "$command" --config=exec \
		--remote_executor="grpc://$GRPC_ADDR" \
		--execution_log_json_file="$exec_log" "$@"
}

# same_list NAME WANTED: what the last build ran, against a sorted list.
same_list() {
	bazel_executed "$exec_log" > "$WORK/got"
	printf '%s\n' "$2" > "$WORK/wanted"
	ok "$1" diff -u "$WORK/wanted" "$WORK/got"
}

ok "the server starts" server_start --workers 2 --host-root || exit 1
bazel_copy_workspace "$WORK/almanac"

note "from nothing"
remote cold test //...
is "everything builds and passes" "$BAZEL_STATUS" 0 || bazel_show_log
is "every process ran remotely" "$BAZEL_REMOTE" "$all"
is "no process was a cache hit" "$BAZEL_REMOTE_HITS" 0
is "no process ran here" "$BAZEL_LOCAL" 0
is "a large output arrived whole" \
	"$(stat -c %s "$(bazel_output cold bin/bulk/large.bin)")" 25165824
cp "$(bazel_output cold bin/bulk/large.bin)" "$WORK/large.bin"
ok "an empty output arrived" \
	test -f "$(bazel_output cold bin/text/nothing.txt)"
is "a symbolic link arrived as one" \
	"$(readlink "$(bazel_output cold bin/text/latest.txt)")" edition-1.txt
is "a directory arrived" \
	"$(cat "$(bazel_output cold bin/trees/pages/chapters/first/4.txt)")" \
	"and one more lamp for night"
like "a test's log arrived" \
	"$(cat "$(bazel_output cold testlogs/checks/programs_test/test.log)")" \
	"draw says: the small square"
is "outputs of a test that no rule declares arrived" \
	"$(unzip -p "$(bazel_output cold \
		testlogs/checks/programs_test/test.outputs/outputs.zip)" \
		said.txt | head -n 1)" "17 words"
bazel_shutdown cold

note "from the cache, into a fresh output base"
remote warm test //...
is "everything passes again" "$BAZEL_STATUS" 0 || bazel_show_log
is "every process was a cache hit" "$BAZEL_REMOTE_HITS" "$all"
is "no process ran again" "$BAZEL_REMOTE" 0
is "no process ran here" "$BAZEL_LOCAL" 0

note "after an edit"
sed -i 's/isalpha/isalnum/' "$BAZEL_WORKSPACE/words/split.c"
bazel_run warm clean
remote warm test //...
is "all passes after an edit" "$BAZEL_STATUS" 0 || bazel_show_log
same_list "what depends on the edited file ran, and nothing else" \
"CppCompile bin/words/_objs/split/split.pic.o
CppLink bin/shapes/draw
CppLink bin/shapes/label_test
CppLink bin/words/count_test
CppLink bin/words/libsplit.a
CppLink bin/words/libsplit.so
CppLink bin/words/split_test
CppLink bin/words/word_count
TestRunner testlogs/checks/programs_test
TestRunner testlogs/shapes/label_test
TestRunner testlogs/words/count_test
TestRunner testlogs/words/split_test"
is "the rest were cache hits" \
	"$((BAZEL_REMOTE + BAZEL_REMOTE_HITS)) $BAZEL_LOCAL" "$all 0"
echo "/* What follows a word stays in the text. */" \
	>> "$BAZEL_WORKSPACE/words/split.c"
bazel_run warm clean
remote warm test //...
is "all passes after an edit of a comment" "$BAZEL_STATUS" 0 ||
	bazel_show_log
same_list "an object file that stays the same stops the rebuild" \
	"CppCompile bin/words/_objs/split/split.pic.o"

note "without downloads"
bazel_run warm clean
sed -i 's/gulls/terns/' "$BAZEL_WORKSPACE/text/poem.txt"
remote warm build --remote_download_minimal \
	//bulk:large_size //text:rejoined //words/...
is "a build without downloads passes" "$BAZEL_STATUS" 0 || bazel_show_log
same_list "actions ran on inputs that exist only remotely" \
"Genrule bin/text/late/late.txt
Genrule bin/text/lines.txt
Genrule bin/text/rejoined.txt
Genrule bin/text/sorted.txt
Genrule bin/text/unique.txt"
not_ok "a cached output was not fetched" \
	test -e "$(bazel_output warm bin/bulk/large.bin)"
not_ok "a new output was not fetched" \
	test -e "$(bazel_output warm bin/text/rejoined.txt)"

note "with a blob lost behind a result"
blob=$(server_blob_file "$WORK/large.bin")
ok "the store has the large output in a file" test -s "$blob"
rm -f "$blob"
bazel_run warm clean
remote warm build //bulk:large_size
is "the build passes without the blob" "$BAZEL_STATUS" 0 || bazel_show_log
same_list "the action that makes it ran again, and nothing else" \
	"Genrule bin/bulk/large.bin"
ok "the output is whole" cmp "$WORK/large.bin" \
	"$(bazel_output warm bin/bulk/large.bin)"

note "what fails"
remote warm build //broken:fails
is "an action that fails is a build that fails" "$BAZEL_STATUS" 1
like "its standard error is shown" "$(cat "$BAZEL_LOG")" \
	"the mast is broken"
like "its exit code is shown" "$(cat "$BAZEL_LOG")" "(Exit 7)"
remote warm build //broken:undeclared
is "an undeclared input fails the build" "$BAZEL_STATUS" 1
like "because it is not there" "$(cat "$BAZEL_LOG")" \
	"text/poem.txt: No such file or directory"
remote warm build //broken:forgetful
is "an output that was not made fails the build" "$BAZEL_STATUS" 1
like "and is named" "$(cat "$BAZEL_LOG")" \
	"'broken/forgotten.txt' was not created"

remote warm test --test_output=errors //broken:failing_test
is "a test that fails is told" "$BAZEL_STATUS" 3
like "as failed" "$(cat "$BAZEL_LOG")" \
	"//broken:failing_test +FAILED"
like "with its standard output" "$(cat "$BAZEL_LOG")" "sounding the depth"
like "and its standard error in the log" \
	"$(cat "$(bazel_output warm testlogs/broken/failing_test/test.log)")" \
	"the keel has touched ground"

SECONDS=0
remote warm test --test_timeout=2 --test_output=errors //broken:slow_test
is "a test that takes too long is told" "$BAZEL_STATUS" 3
like "as a timeout" "$(cat "$BAZEL_LOG")" "//broken:slow_test +TIMEOUT"
like "with what it had said by then" "$(cat "$BAZEL_LOG")" \
	"waiting for the tide"
ok "long before it would have ended" test "$SECONDS" -lt 40
bazel_shutdown warm

ok "the server ends cleanly" server_stop || server_show_log
