#!/usr/bin/env bash
# The text of a release page, on stdout: what CHANGELOG.md says of a tag, and a link to each file of the release.
#
#   tools/release_notes.sh v0.3.0 https://github.com/OWNER/REPO dist/*
#
# pip looks for packages among the links in a page's text, and holds a file to the hash in its link. GitHub's own list of
# files is fetched by a script, which pip does not run.
set -euo pipefail
tag=$1 repository=$2
shift 2
# A line of its own for each entry: GitHub breaks a page's text where its source does.
awk -v head="## [${tag#v}] " '
    index($0, "## [") == 1 { found = index($0, head) == 1; next }
    found && /^  [^ ]/ { entry = entry substr($0, 2); next }
    found { print entry; entry = $0 }
    END { print entry }' "$(dirname "$0")/../CHANGELOG.md" | sed "s#](\([^):]*\))#]($repository/blob/$tag/\1)#g"
printf '\n### Files\n\n'
for file in "$@"; do
    name=${file##*/} sum=$(sha256sum <"$file")
    printf '<a href="%s/releases/download/%s/%s#sha256=%s">%s</a><br>\n' \
        "$repository" "$tag" "${name//+/%2B}" "${sum%% *}" "$name"
done
