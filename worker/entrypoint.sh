#!/bin/sh
# What the container runs, below tini: looks at the mounted volumes, then becomes btworker (or the program that was asked
# for). Arguments are btworker's own (serve, demo, doctor, ...); python3 and sh start those instead.
#
# The image's user is not root. Started as root (--user 0), it gives volumes that belong to root to that user, once, and
# then drops root itself: for places where a volume's owner cannot be set from outside.
set -eu

user=10001
data=${WORKER_DATA_DIR:-/var/lib/btworker}
cache=${XDG_CACHE_HOME:-/var/cache/btworker}

if [ "$(id -u)" = 0 ]; then
    for folder in "$data" "$cache"; do
        mkdir -p "$folder"
        chown -R --from=0 "$user:$user" "$folder"
    done
    export HOME="$cache"
    exec setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs -- "$0" "$@"
fi

case "${1:-serve}" in
    python3 | sh | /*) exec "$@" ;;
    serve)
        # The owner is asked for the sentence alone: a group or an ACL may give the right to write as well.
        if [ -d "$data" ] && ! [ -w "$data" ]; then
            echo "btworker: the data folder $data belongs to user $(stat -c %u "$data"), and this container runs as" \
                "user $(id -u), which may not write there. Give the mounted folder to it (chown -R $(id -u) FOLDER on" \
                "the host), use a named volume, or start the container once with --user 0, which does it for you." >&2
            exit 73 # EX_CANTCREAT, as btworker itself ends where it cannot write
        fi
        [ -w "$cache" ] || echo "btworker: $cache is not writable for user $(id -u): models that are not there yet" \
            "cannot be kept" >&2
        ;;
esac
exec python3 -m btworker "$@"
