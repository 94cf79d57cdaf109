#!/usr/bin/env bash
# Installs btworker as a systemd service, from this checkout. Run it as root; run it again to update.
#
#   deploy/systemd/install.sh [--stack cu121|cu130] [--python /usr/bin/python3.12] [--dry-run]
#
# --dry-run prints every command instead of running it, and needs no root. What it does, in this order:
#   1. a system user and group `btworker`, without a home of its own and without a shell
#   2. /opt/btworker/src, a copy of the checkout, and /opt/btworker/venv, from the pinned packages in locks/
#   3. /etc/btworker/token (made once, readable by root alone) and /etc/btworker/btworker.env (made once, yours to edit)
#   4. the unit; it is enabled and (re)started
# It deletes nothing of yours: settings, token, jobs and models stay as they are. docs/install-systemd.md has the rest.
set -euo pipefail

readonly APP=/opt/btworker CONFIG=/etc/btworker UNITS=/etc/systemd/system SYSTEMD_MINIMUM=250
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout=$(cd "$here/../.." && pwd)
python=/usr/bin/python3
stack=
dry_run=false

fail() { echo "install.sh: $1" >&2; exit 1; }
say() { printf '\n# %s\n' "$1"; }

# Runs a command, or prints it.
run() {
    if $dry_run; then printf '%q ' "$@"; echo; else "$@"; fi
}

# Makes a file from a command's output, in one step, unless it is there: make_once MODE FILE COMMAND...
make_once() {
    local mode=$1 file=$2
    shift 2
    if [[ -e $file ]]; then echo "# $file is there, and stays as it is"; return; fi
    if $dry_run; then printf '%q ' "$@"; printf '> %q  # mode %s\n' "$file" "$mode"; return; fi
    (umask 077 && "$@" >"$file.part" && chmod "$mode" "$file.part" && mv "$file.part" "$file")
}

usage() { sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

parse() {
    while (($#)); do
        case $1 in
            --stack) stack=${2:?--stack wants cu121 or cu130}; shift ;;
            --python) python=${2:?--python wants a path}; shift ;;
            --dry-run) dry_run=true ;;
            -h | --help) usage; exit 0 ;;
            *) usage >&2; fail "unknown argument $1" ;;
        esac
        shift
    done
}

check() {
    command -v "$python" >/dev/null || fail "there is no $python; --python names another one (3.10 to 3.13)"
    if [[ -z $stack ]]; then
        stack=$("$python" -c 'import sys; print("cu130" if sys.version_info >= (3, 13) else "cu121")')
    fi
    [[ $stack == cu121 || $stack == cu130 ]] || fail "--stack is cu121 or cu130, not $stack"
    $dry_run && return
    [[ -d /run/systemd/system ]] ||
        fail "systemd does not run here: in a container, use the image (docs/worker-image-build.md)"
    ((EUID == 0)) || fail "needs root; --dry-run shows what it would do"
    local version
    version=$(systemctl --version | awk 'NR == 1 { print $2 }') || fail "there is no systemd here"
    # Root's PATH may lead to one in root's own home, where the service must not look (ProtectHome=).
    local home
    home=$("$python" -c 'import os, sys; print(os.path.realpath(sys.base_prefix))')
    [[ $home != /root/* && $home != /home/* && $home != /run/user/* ]] ||
        fail "$python lives in $home, which the service cannot see; --python names one outside of home folders"
    ((${version%%[^0-9]*} >= SYSTEMD_MINIMUM)) || fail "needs systemd $SYSTEMD_MINIMUM or newer, this is $version"
}

make_user() {
    say "The user"
    if getent passwd btworker >/dev/null; then echo "# btworker is there"; return; fi
    run useradd --system --user-group --no-create-home --home-dir /var/lib/btworker \
        --shell /usr/sbin/nologin btworker
}

install_application() {
    say "The application, stack $stack"
    run install -d -m 0755 "$APP" "$APP/src"
    # Old modules must not stay behind; the environment beside them is updated in place.
    run rm -rf "$APP/src/btworker"
    local part
    for part in btworker tools locks pyproject.toml setup.cfg README.md LICENSE; do
        run cp -R "$checkout/$part" "$APP/src/"
    done
    run chmod -R u=rwX,go=rX "$APP/src"
    run "$python" "$APP/src/tools/setup_env.py" --stack "$stack" --venv "$APP/venv" --runtime-only
    # The service may not write here, and would compile all of torch again at every start.
    run "$APP/venv/bin/python" -m compileall -q -j 0 "$APP/venv/lib" "$APP/src/btworker" || true
}

configure() {
    say "Settings and the token"
    run install -d -m 0750 "$CONFIG"
    make_once 0600 "$CONFIG/token" "$python" -c 'import secrets; print(secrets.token_urlsafe(32))'
    make_once 0640 "$CONFIG/btworker.env" cat "$here/btworker.env.example"
}

start_service() {
    say "The service"
    run install -m 0644 "$here/btworker.service" "$here/btworker-gpu.service" "$UNITS"
    run systemctl daemon-reload
    run systemctl enable btworker.service
    run systemctl restart btworker-gpu.service btworker.service
}

parse "$@"
check
make_user
install_application
configure
start_service
say "Done: systemctl status btworker; journalctl -u btworker -f. Clients send the token in $CONFIG/token."
