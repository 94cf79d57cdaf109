# For .ci/run and tools/full.sh (bash): `heading NAME` begins a part, `headings_end` says how long each took.
# The seconds are kept in build/tests/headings.tsv.

HEADINGS=build/tests/headings.tsv
mkdir -p "${HEADINGS%/*}"
: >"$HEADINGS"
heading_name="" heading_began=0

heading_close() {
    [[ -z $heading_name ]] || printf '%d\t%s\n' "$((SECONDS - heading_began))" "$heading_name" >>"$HEADINGS"
}

heading() {
    heading_close
    heading_name=$1 heading_began=$SECONDS
    printf '\n===== %s (%d s) =====\n' "$1" "$SECONDS"
}

headings_end() {
    heading_close
    printf '\n===== Seconds of each part, %d in all =====\n' "$SECONDS"
    cat "$HEADINGS"
}
