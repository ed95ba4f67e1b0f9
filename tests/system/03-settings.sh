#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The example config, the man page and the completion know exactly the
# settings that the program has; what the documents show, it understands.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"

commands='serve worker'
plan 27

config=$ROOT/config/toolroot.conf
page=$WORK/page

# keys_of_help COMMAND: without --config, which a file cannot hold, and
# --help.
keys_of_help() {
	"$TOOLROOT" "$1" --help | sed -n -E 's/^  --([a-z-]+)( .*|$)/\1/p' |
		grep -vxE 'config|help' | sort
}

# section COMMAND: its lines in the example, with every key taken in.
section() {
	sed -n -E "/^\[$1\]/,/^\[/{/^\[/!{s/^#([a-z-]+ = )/\1/p}}" "$config"
}

# refused_option COMMAND: a run that reads the file ($WORK/conf), then fails
# on the command line; so it tells whether the file was accepted.
refused_option() {
	TOOLROOT_CONFIG=$WORK/conf "$TOOLROOT" "$1" --no-such-option 2>&1
}

# bold_keys COMMAND: the options that its section of the man page describes.
bold_keys() {
	awk -v wanted=".Ss toolroot $1" '
		/^\.S[sh]/ { inside = ($0 ~ "^" wanted) }
		inside && /^\.It Fl Fl / { print $4 }
	' "$ROOT/docs/toolroot.1" | grep -vxE 'config|help' | sort
}

for command in $commands; do
	wanted=$(keys_of_help "$command")
	ok "$command has settings" test -n "$wanted"
	is "the example has every key of [$command], and no other" \
		"$(section "$command" | sed 's/ = .*//' | sort -u)" "$wanted"
	{
		echo "[$command]"
		section "$command"
	} > "$WORK/conf"
	like "$command accepts each of them" "$(refused_option "$command")" \
		'no-such-option'
	unlike "without a word about the file" \
		"$(refused_option "$command")" "$WORK/conf"
	echo 'no-such-key = 1' >> "$WORK/conf"
	like "and refuses one that is not known, naming the file" \
		"$(refused_option "$command")" "$WORK/conf.*no-such-key"
	is "the man page describes every option of $command" \
		"$(bold_keys "$command")" "$wanted"
done

like "a client's help names the section that it reads" \
	"$("$TOOLROOT" gc --help)" 'under \[client\]'
for command in 'client gc' 'store store check'; do
	read -r -a words <<< "$command"
	{
		echo "[${words[0]}]"
		section "${words[0]}"
	} > "$WORK/conf"
	unlike "the example of [${words[0]}] is accepted" \
		"$(TOOLROOT_CONFIG=$WORK/conf "$TOOLROOT" "${words[@]:1}" \
			--no-such-option 2>&1)" "$WORK/conf"
done
is "the example as it stands sets nothing" \
	"$(grep -vE '^(#.*|\[[a-z]+\]|)$' "$config")" ""
need groff groff-base
groff -mdoc -Tutf8 -ww "$ROOT/docs/toolroot.1" > "$page" 2> "$WORK/errors"
is "groff has nothing against the man page" "$(cat "$WORK/errors")" ""

# complete_line WORD...: what the completion offers for the last word.
complete_line() {
	(
		. "$ROOT/config/toolroot.bash-completion"
		COMP_WORDS=(toolroot "$@")
		COMP_CWORD=$#
		previous=${COMP_WORDS[COMP_CWORD - 1]}
		_toolroot "$TOOLROOT" "${!#}" "$previous"
		echo "${COMPREPLY[*]}"
	)
}
like "commands are completed" "$(complete_line '')" "serve.*worker"
is "options are completed" "$(complete_line serve --max-s)" "--max-size"
is "values that are known are completed" \
	"$(complete_line serve --log-level d)" "debug"

# Local workers read what serve has no setting for: from the file, and before
# it from the environment. TOOLROOT_HTTP is the server's: two cannot listen.
printf '[worker]\npids-per-action = 55\nscratch-files = 4444\n' > "$WORK/conf"
worker_has_limit() {
	grep -qE " limits .* pids=77 " "$SERVER_LOG"
}
export TOOLROOT_CONFIG=$WORK/conf TOOLROOT_PIDS_PER_ACTION=77
export TOOLROOT_HTTP=127.0.0.1:0 TOOLROOT_LOG_FORMAT=text
ok "a server with a local worker starts" server_start --workers 1
ok "the worker has a limit from the server's environment" \
	wait_until 60 worker_has_limit
ok "the server ends when asked" server_stop
unlike "the worker was started once" "$(cat "$SERVER_LOG")" \
	local_worker_ended

# With as many slots as it may use processors, whatever the machine has.
need taskset util-linux
processor=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')
printf '#!/bin/sh\nexec taskset -c %s "%s" "$@"\n' "$processor" \
	"$TOOLROOT" > "$WORK/bound"
chmod +x "$WORK/bound"
slots() {
	grep -o 'local_worker_started .*slots=[0-9]*' "$SERVER_LOG" |
		tail -n 1 | sed 's/.*=//'
}
TOOLROOT=$WORK/bound server_start --log-level info
is "a server that is bound to one processor has one slot" "$(slots)" 1
server_stop || server_show_log
server_start --log-level info
ok "one that is not has no more than there are" test "$(slots)" -le "$(nproc)"
server_stop || server_show_log

said=$(/usr/bin/python3 "$ROOT/tests/system/lib/doc_commands.py" "$TOOLROOT" \
	"$ROOT"/*.md "$ROOT"/docs/*.md 2> /dev/null)
is "commands and options in the documents exist" "$? $said" "0 "
