#!/usr/bin/env python3
"""Stands in for mse-enclave: speaks the frames of the launch socket, and behaves as the
application's name `fake:KIND` says. It knows no TLS: it takes any connection that brings the word
PROVISION for its provisioning, and answers every other with what it saw."""

import json
import os
import socket
import sys
import threading
import time

lock = threading.Lock()


def receive():
    prefix = os.read(0, 4)
    if not prefix:
        os._exit(0)
    size, data = int.from_bytes(prefix, "big"), b""
    while len(data) < size:
        data += os.read(0, size - len(data))
    return json.loads(data)


def send(**frame):
    data = json.dumps(frame).encode()
    with lock:
        os.write(0, len(data).to_bytes(4, "big") + data)


def phase(name, **more):
    send(type="phase", phase=name, **more)


def serve(listener):
    while True:
        connection, _ = listener.accept()
        seen = b""
        while piece := connection.recv(65536):
            seen += piece
            if kind == "patient":
                connection.sendall(b"still here")
        if seen.endswith(b"PROVISION"):
            phase("starting")
            print("the app says hello", flush=True)
            phase("running")
        connection.sendall(b"%d bytes for %s" % (len(seen), name.encode()))
        connection.close()


launch = receive()
workload = json.loads(launch["workload"])
kind = workload["application"].split(":")[1]
name = workload["tls"]["names"][0]
print("launched for", name, file=sys.stderr, flush=True)
assert os.path.getsize(launch["bundle"]) > 0
if kind == "mute":
    receive()
    sys.exit(0)
if kind == "fails":
    phase("failed", reason="it was told to fail")
    sys.exit(1)
if kind == "dies":
    sys.exit(3)
send(type="confinement", entries=[{"name": "seccomp", "applied": False, "detail": "a stand-in"}])
listener = socket.create_server(("127.0.0.1", 0))
send(type="listening", port=listener.getsockname()[1])
phase("awaiting-provisioning")
threading.Thread(target=serve, args=(listener,), daemon=True).start()
while True:
    if receive()["type"] == "stop":
        if kind == "slow":
            time.sleep(2)
        print("stopping", file=sys.stderr, flush=True)
        phase("stopped", reason="as asked")
        os._exit(0)
