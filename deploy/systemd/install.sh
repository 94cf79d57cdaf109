#!/usr/bin/env bash
# Installs btworker as a systemd service, from this checkout. Run it as root; run it again to update.
#
#   deploy/systemd/install.sh [--stack cu121|cu130] [--python /usr/bin/python3.12] [--dry-run]
#   deploy/systemd/install.sh --fleet head|box --address HEAD …     a fleet of boxes: docs/fleet.md
#
# --dry-run prints every command instead of running it, and needs no root. What it does, in this order:
#   1. a system user and group `btworker`, without a home of its own and without a shell
#   2. /opt/btworker/src, a copy of the checkout, and /opt/btworker/venv, from the pinned packages in locks/
#   3. /etc/btworker/token (made once, readable by root alone) and /etc/btworker/btworker.env (made once, yours to edit)
#   4. the unit; it is enabled and (re)started
# With --fleet there is Ray beside the packages, and /etc/btworker/ray_token (made once on the head, to be copied to each box)
# and /etc/btworker/fleet.env (made once: the head's address). A head is the front end as well; a box has no front end.
# It deletes nothing of yours: settings, token, jobs and models stay as they are. docs/install-systemd.md has the rest.
set -euo pipefail

readonly APP=/opt/btworker CONFIG=/etc/btworker UNITS=/etc/systemd/system SYSTEMD_MINIMUM=250
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout=$(cd "$here/../.." && pwd)
python=/usr/bin/python3
stack=
fleet=
address=
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
            --fleet) fleet=${2:?--fleet wants head or box}; shift ;;
            --address) address=${2:?--address wants that of the head}; shift ;;
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
    check_fleet
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

check_fleet() {
    [[ -n $fleet ]] || return 0
    [[ $fleet == head || $fleet == box ]] || fail "--fleet is head or box, not $fleet"
    [[ $address =~ ^[0-9A-Fa-f:.]+$ ]] ||
        fail "--address wants the address of the head in the network of the boxes, such as 10.0.0.1"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "a fleet needs Python 3.11 or newer (--python)"
    [[ $fleet == head || -e $CONFIG/ray_token ]] || $dry_run ||
        fail "copy the head's $CONFIG/ray_token to this machine first, readable for root alone"
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
    [[ -z $fleet ]] || run "$APP/venv/bin/python" -m pip install --quiet --no-deps --require-hashes -r "$APP/src/locks/ray.txt"
    # The service may not write here, and would compile all of torch again at every start.
    run "$APP/venv/bin/python" -m compileall -q -j 0 "$APP/venv/lib" "$APP/src/btworker" || true
}

configure() {
    say "Settings and the token"
    run install -d -m 0750 "$CONFIG"
    [[ $fleet == box ]] || make_once 0600 "$CONFIG/token" "$python" -c 'import secrets; print(secrets.token_urlsafe(32))'
    make_once 0640 "$CONFIG/btworker.env" cat "$here/btworker.env.example"
    [[ -n $fleet ]] || return 0
    [[ $fleet == box ]] ||
        make_once 0600 "$CONFIG/ray_token" "$python" -c 'import secrets; print(secrets.token_hex(32), end="")'
    make_once 0640 "$CONFIG/fleet.env" printf 'WORKER_RAY_ADDRESS=%s:6379\nWORKER_FLEET_HOST=%s\n' "$address" "$address"
}

start_service() {
    local services=(btworker.service)
    case $fleet in
        head) services=(btworker-fleet-head.service btworker.service) ;;
        box) services=(btworker-fleet-box.service) ;;
    esac
    say "The service"
    local service
    for service in btworker-gpu.service "${services[@]}"; do
        run install -m 0644 "$(find "$here" -name "$service")" "$UNITS"
    done
    [[ $fleet != head ]] || run install -D -m 0644 -t "$UNITS/btworker.service.d" "$here/fleet/btworker.service.d/fleet.conf"
    run systemctl daemon-reload
    run systemctl enable "${services[@]}"
    run systemctl restart btworker-gpu.service "${services[@]}"
}

parse "$@"
check
make_user
install_application
configure
start_service
case $fleet in
    box) say "Done: systemctl status btworker-fleet-box. \`btworker fleet list\` on the head shows this box." ;;
    head) say "Done: systemctl status btworker btworker-fleet-head. Copy $CONFIG/ray_token to each box, then install.sh --fleet box there." ;;
    *) say "Done: systemctl status btworker; journalctl -u btworker -f. Clients send the token in $CONFIG/token." ;;
esac
