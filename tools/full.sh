#!/usr/bin/env bash
# `make full`: what belongs to a release. All cases of all tests on both stacks, locks, clients from npm, fuzzing. Hours.
# Goes on after a part that failed, and says at its end which did.
set -uo pipefail
cd "$(dirname "$0")/.."
exec </dev/null
# shellcheck source=headings.sh
. tools/headings.sh
export BTWORKER_FULL=1
export PATH="$PATH:/usr/sbin:/sbin"
failed=()

part() {
    local name=$1
    shift
    heading "$name"
    "$@" || failed+=("$name")
}

part "Lint" make lint STACK=cu121
part "Locks, for every architecture and Python version" make check-locks STACK=cu121
part "Known vulnerabilities of the pinned packages" make audit STACK=cu121
part "Tests, stack cu121" make test STACK=cu121
part "Real clients from npm" make test-clients STACK=cu121
part "The newest client for Node.js" make test-clients-next STACK=cu121
part "A fleet on Ray" make test-fleet STACK=cu121
part "Fuzzing" make fuzz STACK=cu121
part "The unit under systemd" make unit-test
part "Chaos" make chaos STACK=cu121
part "Speech tests, stack cu130" make test-speech STACK=cu130
part "Real voices" make real-check STACK=cu121

headings_end
if ((${#failed[@]})); then
    printf 'failed: %s\n' "${failed[@]}"
    exit 1
fi
echo "all good"
