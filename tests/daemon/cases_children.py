"""Ends at any point of domains that have processes of their own beside their VMM."""

import shutil

import cases_death
import cases_formats
import cases_networks
import cases_vsock
from machine import wait_until


def kill_children(machine):
    """Fifteen points (CLOISTER_FULL: a thousand) of domains that have processes of their own beside their VMM, for disks,
    network and vsock; these are killed, too. None of them is left, and what they had is free."""
    m = machine(cases_death.MACHINE)
    image, raw, port = m.state.parent / "disk.qcow2", m.state.parent / "disk.raw", cases_networks.free_port()
    raw.write_bytes(bytes(1 << 20))
    disks, more = [f'"format=raw,vdev=xvda,access=rw,target={raw}"'], {"vsock": '"auto"'}
    if shutil.which("qemu-nbd") and shutil.which("qemu-img"):
        cases_formats.made(image, size="1M")
        disks.append(f'"format=qcow2,vdev=xvdb,access=rw,target={image}"')
    if shutil.which("passt") and cases_networks.has_route():
        more["vif"] = cases_networks.on(port)

    def processes():
        passt = cases_networks.passt_of(port)
        return [*cases_vsock.connectors(), *cases_formats.servers(image), *([passt] if passt else [])]

    def check():
        wait_until(lambda: processes() == [] and cases_networks.is_free(port), "the end of what a domain has beside its VMM")
        assert m.request("POST", "/v1/domains", m.creation("victim", disk=f"[{', '.join(disks)}]", **more)).status == 201
        m.destroy("victim")

    cases_death.kill_at(m, 1000 if m.settings.full else 15, processes, check, disk=f"[{', '.join(disks)}]", **more)


CASES = {"kill-children": kill_children}
