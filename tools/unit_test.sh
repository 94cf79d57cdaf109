#!/usr/bin/env bash
# Installs the unit under a real systemd and lives through its life: `make unit-test`. Root, Linux with systemd 250 or
# newer, 10 GB of memory for what is installed; 2 to 6 minutes. Nothing outside its own namespaces changes.
#
# An overlay over this machine's own system, in memory, is the machine: systemd runs as PID 1 of a namespace there,
# install.sh installs this checkout, and a job with speakers, a SIGKILL, a loop that stands still and a stop follow. Then it
# becomes the head of a fleet, whose only box is this machine: a job, the head's SIGKILL, and a job again.
set -euo pipefail

readonly PORT=${UNIT_TEST_PORT:-8555} DEADLINE_S=90
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
place=$(mktemp -d /tmp/btworker-unit.XXXXXX)
root=$place/root
init=

fail() { echo "unit_test: $1" >&2; exit 1; }
say() { printf '\n== %s\n' "$1"; }

clean_up() {
    [[ -z $init ]] || kill -KILL "$init" 2>/dev/null || true
    sleep 1
    umount -R "$root" 2>/dev/null || true
    umount "$place" && rmdir "$place"
}

# Runs a command inside, beside systemd.
inside() {
    nsenter -t "$init" -m -p -u -i -C -r -w env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        ${PIP_CONFIG_FILE:+PIP_CONFIG_FILE="$PIP_CONFIG_FILE"} "$@"
}

# Waits until a command inside succeeds.
until_inside() {
    local end=$((SECONDS + DEADLINE_S))
    until inside "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || fail "not within $DEADLINE_S s: $*"
        sleep 0.2
    done
}

property() { inside systemctl show --value -p "$1" btworker; }

# Waits until the unit was started anew and listens.
until_restarted() {
    local before=$1 end=$((SECONDS + DEADLINE_S))
    until [[ $(property NRestarts) == "$before" && $(property ActiveState) == active ]]; do
        ((SECONDS < end)) || fail "not started anew within $DEADLINE_S s: $(property NRestarts) starts, $(property ActiveState)"
        sleep 0.5
    done
}

start_systemd() {
    mount -t tmpfs -o size=10g tmpfs "$place"
    mkdir "$place/upper" "$place/work" "$root"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$place/upper,workdir=$place/work" "$root"
    ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
    cat >"$place/init.sh" <<'INIT'
cd "$1"
mount -t proc proc proc
mount --rbind /sys sys
mount -t tmpfs tmpfs dev
for name in null zero full random urandom tty; do touch "dev/$name"; mount --bind "/dev/$name" "dev/$name"; done
mkdir dev/shm dev/pts
for name in dev/shm run tmp; do mount -t tmpfs tmpfs "$name"; done
exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . /lib/systemd/systemd --system --show-status=no
INIT
    unshare --fork --pid --mount --uts --ipc --cgroup --propagation private bash "$place/init.sh" "$root" &
    local end=$((SECONDS + DEADLINE_S)) outer=$!
    until init=$(pgrep -P "$outer" -f "/lib/systemd/systemd --system"); do
        ((SECONDS < end)) || fail "systemd did not start"
        sleep 0.2
    done
    until_inside test -d /run/systemd/system
    # As a booted system has it; credentials reach a unit through shared mounts.
    inside mount --make-rshared /
    inside mount --make-rshared /run
}

install_unit() {
    inside install -d -m 0750 /etc/btworker
    inside bash -c "cat >/etc/btworker/btworker.env" <<SETTINGS
WORKER_MODEL=demo
WORKER_MODELS=demo=/opt/btworker/src/btworker/demo/whisper-tiny-words.pt
WORKER_DIARIZATION_PIPELINE=/opt/btworker/src/btworker/demo/diarization
WORKER_PORT=$PORT
SETTINGS
    inside "$checkout/deploy/systemd/install.sh"
}

transcribe() {
    inside bash -c "cd /tmp && WORKER_TOKEN=\$(cat /etc/btworker/token) /opt/btworker/venv/bin/python -m btworker transcribe \
        --server http://127.0.0.1:$PORT --diarize --formats srt '$checkout/btworker/demo/sample.flac' && grep -m 1 SPEAKER_01 sample.srt"
}

fleet_ready() {
    until_inside bash -c "/opt/btworker/venv/bin/python -m btworker fleet list --data /var/lib/btworker | grep -q ' ready '"
}

# A machine without GPUs is a box by a resource of its own.
install_fleet() {
    inside "$checkout/deploy/systemd/install.sh" --fleet head --address 127.0.0.1
    inside sed -i "s/--num-cpus 0/& '--resources={\"btworker_box\":1}'/" /etc/systemd/system/btworker-fleet-head.service
    inside systemctl daemon-reload
    inside systemctl restart btworker-fleet-head
    fleet_ready
}

((EUID == 0)) || fail "needs root"
trap clean_up EXIT
say "systemd as PID 1"
start_systemd
inside systemctl --version | head -1
say "Installation"
install_unit
until_inside curl -sf "http://127.0.0.1:$PORT/health/ready"
say "A job with speakers"
transcribe
say "SIGKILL: started anew"
inside kill -KILL "$(property MainPID)"
until_restarted 1
say "A loop that stands still: ended by the watchdog, started anew"
inside kill -STOP "$(property MainPID)"
until_restarted 2
transcribe
say "Stop"
inside systemctl stop btworker
[[ $(property Result) == success && $(property ExecMainStatus) == 0 ]] || fail "it did not end well: $(property Result)"
inside systemd-analyze security btworker --no-pager | tail -1
say "The head of a fleet, and a job on its box"
install_fleet
transcribe
say "SIGKILL of the head: started anew, and its box joins again"
inside systemctl kill --signal KILL btworker-fleet-head
until_inside bash -c "/opt/btworker/venv/bin/python -m btworker fleet list --data /var/lib/btworker | grep -q ' lost '"
fleet_ready
transcribe
inside systemctl stop btworker btworker-fleet-head
say "All right"
