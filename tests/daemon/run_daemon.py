#!/usr/bin/env python3
"""Tests of cloisterd and cloister-vmm from outside, as their users see them. One case a run: run_daemon.py CASE."""

import argparse
import os
import signal
import sys
import tempfile
import traceback
import unittest
from dataclasses import dataclass
from pathlib import Path

import cases_access
import cases_api
import cases_arrivals
import cases_blocks
import cases_boot
import cases_bridges
import cases_children
import cases_clients
import cases_dashboard
import cases_death
import cases_defined
import cases_disks
import cases_enclaves
import cases_engine
import cases_ends
import cases_folders
import cases_formats
import cases_hops
import cases_host_save
import cases_image
import cases_keys
import cases_life
import cases_live_enclaves
import cases_memory
import cases_migration
import cases_moved_definitions
import cases_moved_disks
import cases_networks
import cases_operator
import cases_owner
import cases_pairs
import cases_peers
import cases_persist
import cases_power
import cases_recovery
import cases_run
import cases_sandbox
import cases_saving
import cases_seeing
import cases_silicon
import cases_sharing
import cases_snapshot
import cases_stress
import cases_tickets
import cases_tls
import cases_vsock
from machine import Machine, become_reaper

SKIPPED = 77  # to ctest
CASES = {**cases_access.CASES, **cases_life.CASES, **cases_operator.CASES, **cases_death.CASES, **cases_api.CASES, **cases_sandbox.CASES, **cases_seeing.CASES,
         **cases_dashboard.CASES, **cases_silicon.CASES, **cases_engine.CASES, **cases_sharing.CASES, **cases_stress.CASES,
         **cases_recovery.CASES, **cases_power.CASES, **cases_defined.CASES, **cases_owner.CASES, **cases_folders.CASES, **cases_children.CASES, **cases_clients.CASES, **cases_ends.CASES, **cases_memory.CASES, **cases_run.CASES, **cases_persist.CASES, **cases_keys.CASES, **cases_disks.CASES, **cases_blocks.CASES, **cases_boot.CASES, **cases_formats.CASES, **cases_networks.CASES, **cases_vsock.CASES, **cases_migration.CASES, **cases_peers.CASES, **cases_live_enclaves.CASES, **cases_hops.CASES, **cases_pairs.CASES, **cases_tls.CASES, **cases_saving.CASES, **cases_moved_definitions.CASES, **cases_moved_disks.CASES, **cases_tickets.CASES, **cases_arrivals.CASES, **cases_host_save.CASES, **cases_snapshot.CASES, **cases_enclaves.CASES,
         **cases_image.CASES,
         **cases_bridges.CASES,
         }


@dataclass
class Settings:
    programs: Path  # the folder of cloisterd and cloister-vmm
    payloads: Path
    document: Path  # docs/openapi.json
    guest: Path  # what scripts/guest-image made
    recorder: Path  # recorder.cpp, built
    full: bool


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=Path, required=True)
    parser.add_argument("--payloads", type=Path, required=True)
    parser.add_argument("--document", type=Path, required=True)
    parser.add_argument("--guest", type=Path, required=True)
    parser.add_argument("--recorder", type=Path, required=True)
    parser.add_argument("--full", action="store_true", default=bool(os.environ.get("CLOISTER_FULL")))
    parser.add_argument("case", choices=sorted(CASES))
    options = parser.parse_args()
    settings = Settings(*(path.resolve() for path in (options.programs, options.payloads, options.document, options.guest, options.recorder)), options.full)
    become_reaper()
    machines = []

    # Short names: a Unix socket's address has room for 107 bytes. In memory: SIGKILL loses nothing that was written, so
    # waiting for a disk would show nothing.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="cd-", dir=memory) as folder:

        def machine(description=None, prepare=lambda _: None):
            place = Path(folder) / str(len(machines))
            place.mkdir()
            machines.append(Machine(settings, place, description))
            prepare(machines[-1])
            return machines[-1].start()

        try:
            CASES[options.case](machine)
            for one in machines:
                one.kill(signal.SIGTERM)
            return 0
        except (cases_sandbox.Skipped, unittest.SkipTest) as why:
            print(f"skipped: {why}")
            return SKIPPED
        except Exception:
            traceback.print_exc()
            for one in machines:
                print(f"---- cloisterd's status: {one.process.poll()}; end of {one.log}:\n" + one.log.read_text()[-4000:], file=sys.stderr)
            return 1
        finally:
            for one in machines:
                one.close()


if __name__ == "__main__":
    sys.exit(main())
