#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Whoever calls the program wrongly, or points it at the wrong place, gets
# one line on standard error that names the thing and what to do, and the
# exit status that the man page promises: 2 called wrongly, 1 failed.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
need openssl openssl
need python3 python3

plan 56

export XDG_CACHE_HOME=$WORK/cache

# refused NAME STATUS PATTERN ARGUMENT...: of toolroot.
refused() {
	local name=$1 wanted=$2 pattern=$3 status
	shift 3
	timeout 60 "$TOOLROOT" "$@" > "$WORK/out" 2> "$WORK/err" < /dev/null
	status=$?
	if [ "$status" -eq "$wanted" ] && [ ! -s "$WORK/out" ] &&
		head -n 1 "$WORK/err" | grep -qE -e "$pattern"; then
		pass "$name"
	else
		fail "$name"
		diag "status $status, wanted $wanted and $pattern"
		diag "$(cat "$WORK/out" "$WORK/err")"
	fi
}

# refused_serve NAME STATUS PATTERN ARGUMENT...: before it is ready.
refused_serve() {
	local name=$1 status=$2 pattern=$3
	shift 3
	refused "$name" "$status" "^toolroot serve: $pattern" serve \
		--listen 127.0.0.1:0 --http 127.0.0.1:0 \
		--store "$WORK/other" "$@"
}

note "names that do not exist"
refused "a command that is nearly right" 2 \
	'there is no command "serv"; did you mean "serve"\?' serv
refused "a subcommand that is none" 2 'there is no command "chek"' store chek
refused_serve "an option that is nearly right" 2 \
	'--max-sizes: .*did you mean "max-size"\?.*toolroot serve --help' \
	--max-sizes 3G
refused_serve "a value that is missing" 2 '--max-size wants a value' --max-size
refused_serve "an argument too many" 2 'unexpected argument "x"' x
for option in --version -V; do
	like "$option tells the version" "$("$TOOLROOT" "$option")" '^toolroot [0-9]'
done
like "-h is --help" "$("$TOOLROOT" -h)" 'usage: toolroot COMMAND'
like "the version also comes through cargo" \
	"$("$BUILD/cargo-toolroot" toolroot --version)" '^toolroot [0-9]'
like "and beside it" "$("$TOOLROOT" cargo --version)" '^toolroot [0-9]'

note "values that make no sense are refused at the start"
refused_serve "a kind of sandbox" 2 '--sandbox "x" is neither' --sandbox x
refused_serve "a kind of staging" 2 '--staging "x" is none of' --staging x
refused_serve "a low mark that open uploads alone may reach" 2 \
	'--gc-low must be from 50 to --gc-high' --gc-low 30
refused_serve "a property without value" 2 '--property "gpu" is not NAME=VALUE' \
	--property gpu
refused_serve "a digest function" 2 '--digest-function "md5" is none of' \
	--digest-function md5
refused_serve "an instance that no client could name" 2 \
	'--instance "a/blobs/b" is no instance name' --instance a/blobs/b
refused_serve "explaining no instance that is served" 2 \
	'--unexplained "b" is no instance that is served' \
	--instance a --unexplained b
refused_serve "an address without port" 2 'listen address "here"' --listen here
refused_serve "an HTTP address without port" 2 'HTTP address "here"' \
	--http here
refused_serve "plain text for everybody" 2 'plain text on 0.0.0.0:0' \
	--listen 0.0.0.0:0
refused_serve "a settings file that is a directory" 2 \
	"config file $WORK: Is a directory" --config "$WORK"
refused "a server address" 2 'server address "http://x": wanted grpc://' \
	worker --log-level error --cache "$WORK/cache" --sandbox none \
	--server http://x
refused "a store that is not named" 2 '--store is missing' store check
refused "an export of nothing" 2 'nothing to export' \
	store export --store "$WORK/other" "$WORK/file"
refused "a digest that is none" 2 'expected <hash>/<size>' \
	store pin name bla
refused "a toolchain from nowhere" 2 'name one source' toolchain add x
printf '[store]\nstore = %s\n' "$WORK/none" > "$WORK/store.conf"
refused "the section that store's help names is read" 1 \
	"open store $WORK/none: No such file" \
	store check --config "$WORK/store.conf"

note "what is not there, or taken"
refused "a store" 1 "open store $WORK/none: No such file" \
	store check --store "$WORK/none"
refused "an archive" 1 "archive $WORK/none: cannot be read: No such file" \
	toolchain add x --archive "$WORK/none"
: > "$WORK/file"
refused_serve "a directory that cannot be made" 1 \
	"make $WORK/file/store for the store, or use another: .*Not a directory" \
	--store "$WORK/file/store"
refused "a server" 1 'server grpc://127.0.0.1:1 \(--server, .*refused' \
	toolchain list --server grpc://127.0.0.1:1
ok "a server starts, with another instance and digest function" \
	server_start --workers 1 --host-root --instance main \
	--digest-function sha512 --capture-default || exit 1
refused_serve "a port in use" 1 "cannot listen on $GRPC_ADDR: .*in use" \
	--listen "$GRPC_ADDR"
refused_serve "a store in use" 1 "the store $SERVER_STORE is in use by" \
	--store "$SERVER_STORE"
main=(--server "grpc://$GRPC_ADDR" --instance main --digest-function sha512)
refused "a toolchain that has no such name" 1 \
	'there is no toolchain "x"; toolroot toolchain list tells' \
	toolchain show x "${main[@]}"
hidden=$(mktemp /tmp/toolroot-test.XXXXXX)
at_exit rm -f "$hidden"
like "what no action would see is told" "$("$TOOLROOT" toolchain add x \
	--commands --also "$hidden" --dry-run "${main[@]}" 2>&1)" \
	"note: no action sees $hidden"
captured() {
	"$TOOLROOT" toolchain show default "${main[@]}" > /dev/null 2>&1
}
ok "the first toolchain goes to the instance that is served" \
	wait_until 120 captured
like "which stands in the lines for .bazelrc" "$(cat "$SERVER_LOG")" \
	'build --remote_instance_name=main.*default_exec_properties=toolchain-root='
ok "the server ends" server_stop || server_show_log

note "certificates, made as docs/operations.md says"
mkdir "$WORK/tls"
sed -n '/05-usage.sh runs this/,/^`ca.pem`/s/^    //p' \
	"$ROOT/docs/operations.md" > "$WORK/recipe"
ok "the recipe works" bash -e -c "cd $WORK/tls && . $WORK/recipe"
cd "$WORK/tls" || exit 1
SERVER_STORE=$WORK/other
ok "a server takes them" server_start --workers 0 --tls-cert server.pem \
	--tls-key server.key --tls-client-ca ca.pem --log-level debug || exit 1
like "the lines for .bazelrc have what it takes" "$(cat "$SERVER_LOG")" \
	'build --remote_cache=grpcs://.*build --tls_certificate=.*build --tls_client_certificate=.*build --tls_client_key='
port=${GRPC_ADDR##*:}
like "a client with one is let in" \
	"$("$TOOLROOT" toolchain list --json --server "grpcs://localhost:$port" \
		--tls-ca ca.pem --tls-cert me.pem --tls-key me.key)" '^\[\]$'
"$TOOLROOT" toolchain show x --server "grpcs://localhost:$port" --tls-ca ca.pem \
	--tls-cert me.pem --tls-key me.key > "$WORK/out" 2>&1
named() {
	grep -q 'rpc .*identity="me"' "$SERVER_LOG"
}
ok "and called by the name in it" wait_until 60 named
like "why a call failed is in the server's log" "$(grep ' rpc .*NOT_FOUND' \
	"$SERVER_LOG")" 'error="there is no toolchain .x.;'
list=(toolchain list --server "grpcs://localhost:$port")
refused "without an authority it is told of --tls-ca" 1 \
	'who signed it with --tls-ca.*certificate verify failed' "${list[@]}"
refused "without a certificate, of --tls-cert" 1 \
	'--tls-cert and --tls-key\)' "${list[@]}" --tls-ca ca.pem
refused "with another's key, of both files" 1 \
	'me.pem and worker.key are not' "${list[@]}" --tls-ca ca.pem \
	--tls-cert me.pem --tls-key worker.key
refused "without TLS, of grpcs://" 1 'grpcs:// instead of grpc://' \
	toolchain list --server "grpc://localhost:$port"
refused "with certificates all the same, of the same" 2 \
	'without TLS, and --tls-ca is for TLS: grpcs://' \
	toolchain list --server "grpc://localhost:$port" --tls-ca ca.pem
refused "so is a worker" 2 'without TLS, and --tls-cert is for TLS' \
	worker --log-level error --cache "$WORK/cache" --sandbox none \
	--server "grpc://localhost:$port" --tls-cert me.pem --tls-key me.key
like "so is doctor's" "$("$TOOLROOT" doctor --no-host --no-cargo \
	--server "grpcs://localhost:$port")" 'to mend it: .*--tls-ca'
"$TOOLROOT" worker --server "grpcs://localhost:$port" --tls-ca ca.pem \
	--sandbox none --cache "$WORK/worker" 2> "$WORK/err" 3>&- &
worker=$!
wait_until 60 grep -q not_connected "$WORK/err"
kill "$worker"
wait "$worker"
like "and a worker's log" "$(cat "$WORK/err")" \
	'not_connected .* remedy="[^"]*--tls-cert'
ok "the server ends again" server_stop || server_show_log

note "output that does not arrive"
full=$("$TOOLROOT" store stats --store "$SERVER_STORE" 2>&1 > /dev/full)
is "a full disk is told" "$full, status $?" \
	"toolroot store stats: standard output: No space left on device, status 1"
left=$({
	sleep 1
	"$TOOLROOT" store stats --store "$SERVER_STORE"
} 2>&1 > >(true))
is "a reader that has left is not" "$left" ""
