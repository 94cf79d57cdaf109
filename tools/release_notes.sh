#!/usr/bin/env bash
# What CHANGELOG.md says of the release that a tag like v0.3.0 names.
set -euo pipefail
cd "$(dirname "$0")/.."
awk -v head="## [${1#v}] " 'index($0, "## [") == 1 { found = index($0, head) == 1; next } found' CHANGELOG.md
