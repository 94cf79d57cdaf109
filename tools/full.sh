#!/usr/bin/env bash
# `make full`: what belongs to a release. All cases of all tests on both stacks, locks, clients from npm, fuzzing. Hours.
# Goes on after a part that failed. What passed is kept by commit in build/full.tsv, so that a run that was cut off goes
# on where it was; PARTS="fuzz chaos" takes these alone, AGAIN=1 those that passed as well. Ends with a table of all
# parts, and with 0 only where every one has passed at this commit.
set -uo pipefail
cd "$(dirname "$0")/.."
exec </dev/null
# shellcheck source=headings.sh
. tools/headings.sh
export BTWORKER_FULL=1
export PATH="$PATH:/usr/sbin:/sbin"

names=(
    lint locks audit unit processes speech page serial npm npm-next fleet fuzz systemd chaos cu130 real
)
declare -A command=(
    [lint]="lint" [locks]="check-locks" [audit]="audit"
    [unit]="test LANE='unit and HTTP'"
    [processes]="test LANE='processes, faults, attacks, acceptance'"
    [speech]="bench-peers test LANE='speech'" [page]="test LANE='page'" [serial]="test LANE='one at a time'"
    [npm]="test-clients" [npm-next]="test-clients-next" [fleet]="test-fleet" [fuzz]="fuzz" [systemd]="unit-test"
    [chaos]="chaos" [cu130]="test-speech STACK=cu130" [real]="real-check"
)
results=build/full.tsv
touch "$results"
commit=$(git describe --always --abbrev=40 --dirty)
if [[ $commit == *-dirty ]]; then
    echo "The tree has changes that are not committed: nothing of this run is kept."
    results=$(mktemp) && trap 'rm -f "$results"' EXIT
fi

# The last result of a part at this commit: "passed SECONDS", "failed SECONDS", or nothing.
result_of() {
    awk -F'\t' -v commit="$commit" -v name="$1" '$1 == commit && $2 == name { found = $3 " " $4 } END { print found }' "$results"
}

run_part() {
    local began=$SECONDS outcome=passed
    heading "$1"
    eval "make ${command[$1]} $([[ ${command[$1]} == *STACK=* ]] || echo STACK=cu121)" || outcome=failed
    printf '%s\t%s\t%s\t%d\n' "$commit" "$1" "$outcome" "$((SECONDS - began))" >>"$results"
}

asked=(${PARTS:-"${names[@]}"})
for name in "${asked[@]}"; do
    if [[ -z ${command[$name]:-} ]]; then
        echo "make full: PARTS are among: ${names[*]}; not $name" >&2
        exit 2
    fi
done
for name in "${asked[@]}"; do
    if [[ -z ${AGAIN:-} && $(result_of "$name") == passed* ]]; then
        echo "$name: passed at this commit before"
    else
        run_part "$name"
    fi
done
heading_close

printf '\n===== make full, at %s =====\n' "$commit"
status=0
for name in "${names[@]}"; do
    read -r outcome seconds <<<"$(result_of "$name")"
    [[ $outcome == passed ]] || status=1
    printf '%-10s %-9s %s\n' "$name" "${outcome:-not run}" "${seconds:+$seconds s}"
done
exit "$status"
