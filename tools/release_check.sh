#!/usr/bin/env bash
# Whether this checkout is the release that a tag like v0.3.0 names: its version, and a date in CHANGELOG.md.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1#v}
grep -qxF "__version__ = \"$version\"" btworker/__init__.py || {
    echo "btworker/__init__.py has another version than $version" >&2
    exit 1
}
grep -qE "^## \[${version//./\\.}\] - [0-9]{4}-[0-9]{2}-[0-9]{2}$" CHANGELOG.md || {
    echo "CHANGELOG.md has no date for $version" >&2
    exit 1
}
awk '/^## \[/ { found = $0 == "## [Unreleased]" } found && /^- / { later = 1 } END { exit later }' CHANGELOG.md || {
    echo "CHANGELOG.md has entries under [Unreleased]: they are in this release, so they belong below its date" >&2
    exit 1
}
echo "$version, as the tag says"
