#!/usr/bin/python3
"""QEMU as it is on a host with SGX, for libvirt's probing of what it can do.

Everything is passed to the real QEMU, and QMP both ways, but for one command: `query-sgx-capabilities`, which QEMU refuses
where KVM offers no SGX (qapi/misc-target.json: SGXInfo). The settings lie beside this program, in sgx_qemu.json."""

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path

PATIENCE = 30  # seconds that QEMU may take to listen


def lines_of(stream):
    pending = b""
    while chunk := stream.recv(65536):
        *whole, pending = (pending + chunk).split(b"\n")
        yield from whole


class Proxy:
    """Between a QMP client and QEMU. QEMU answers commands in their order, so our own answer waits for its."""

    def __init__(self, client, qemu, sgx):
        self.client, self.qemu, self.sgx = client, qemu, sgx
        self.asked = set()  # ids of query-sgx-capabilities under way

    def to_qemu(self):
        for line in lines_of(self.client):
            command = json.loads(line) if line.strip() else {}
            if command.get("execute") == "query-sgx-capabilities":
                self.asked.add(command.get("id"))
            self.qemu.sendall(line + b"\n")
        self.qemu.close()

    def to_client(self):
        for line in lines_of(self.qemu):
            reply = json.loads(line) if line.strip() else {}
            if reply.get("id") in self.asked and ("error" in reply or "return" in reply):
                self.asked.discard(reply["id"])
                line = json.dumps({"return": self.sgx, "id": reply["id"]}).encode()
            self.client.sendall(line + b"\r\n")


def connect(path):
    end = time.monotonic() + PATIENCE
    while True:
        try:
            qemu = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            qemu.connect(path)
            return qemu
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def serve(path, real, sgx):
    """Listens where the client expects QEMU; the process that serves it ends with QEMU."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(1)
    if os.fork():
        return
    os.setsid()
    for descriptor in range(3):
        os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
    qemu = connect(real)
    proxy = Proxy(listener.accept()[0], qemu, sgx)
    threading.Thread(target=proxy.to_qemu, daemon=True).start()
    try:
        proxy.to_client()
    finally:
        os._exit(0)


def main():
    settings = json.loads(Path(__file__).with_name("sgx_qemu.json").read_text())
    arguments = sys.argv[1:]
    for index, argument in enumerate(arguments):
        if argument.startswith("unix:") and arguments[index - 1] == "-qmp":
            path, _, rest = argument.removeprefix("unix:").partition(",")
            arguments[index] = f"unix:{path}.real,{rest}"
            serve(path, f"{path}.real", settings["sgx"])
    os.execv(settings["qemu"], [settings["qemu"], *arguments])


if __name__ == "__main__":
    main()
