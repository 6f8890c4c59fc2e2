# What a shell asks of a kernel. Status 0 if all of it works.

fail() {
	echo "failed: $1"
	exit 1
}

[ "$(printf 'one\ntwo\nthree\n' | grep t | sort -r | head -n 1)" = two ] || fail "a pipeline"
echo "pipeline works"

[ "$(echo $(echo nested))" = nested ] || fail "a command substitution"
[ "$(ls /bin | wc -l)" -gt 100 ] || fail "the applets"
echo "substitution works"

(sleep 1; echo late >/tmp/late; exit 9) &
job=$!
[ -e /tmp/late ] && fail "a background job was waited for"
wait $job
[ $? = 9 ] || fail "the status of a background job"
[ "$(cat /tmp/late)" = late ] || fail "what a background job wrote"
echo "background job works"

/bin/processes segfault
[ $? = 139 ] || fail "the status of a segfault"
[ "$(echo alive)" = alive ] || fail "a life after somebody else's segfault"
ps | grep -q '[s]h' || fail "ps"
echo "the bad program died alone"
