#!/bin/sh
# Redis as Debian ships it. It reads its certificates when it is told to: this script is told by
# SIGHUP that there are new ones, and tells it. Options for Redis follow.
set -eu

redis-server --port 0 --bind 127.0.0.1 --tls-port "$PORT" --tls-auth-clients yes \
    --tls-cert-file /run/tls/redis.pem --tls-key-file /run/tls/redis.key \
    --tls-ca-cert-file /run/tls/ca.pem --save '' --appendonly no "$@" &
redis=$!

reload() {
    redis-cli --tls --cacert /run/tls/ca.pem --cert /run/tls/redis.pem --key /run/tls/redis.key \
        -h localhost -p "$PORT" \
        CONFIG SET tls-cert-file /run/tls/redis.pem tls-key-file /run/tls/redis.key ||
        echo "the new certificate was not taken" >&2
}

trap reload HUP
trap 'kill "$redis"' TERM INT

# A signal ends `wait` early.
while kill -0 "$redis" 2>/dev/null; do
    wait "$redis" || true
done
