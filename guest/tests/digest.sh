#!/bin/sh
# Message digests of known inputs, and of one that is long enough to warm every loop.
. /tests/lib
check_equal sha256-empty "$(printf '' | sha256sum | cut -d ' ' -f 1)" \
  e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
check_equal sha256-abc "$(printf abc | sha256sum | cut -d ' ' -f 1)" \
  ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
check_equal sha256-zeros "$(head -c 4194304 /dev/zero | sha256sum | cut -d ' ' -f 1)" \
  bb9f8df61474d25e71fa00722318cd387396ca1736605e1248821cc0de3d3af8
check_equal sha512-abc "$(printf abc | sha512sum | cut -c 1-32)" ddaf35a193617abacc417349ae204131
check_equal sha1-abc "$(printf abc | sha1sum | cut -d ' ' -f 1)" a9993e364706816aba3e25717850c26c9cd0d89d
check_equal md5-abc "$(printf abc | md5sum | cut -d ' ' -f 1)" 900150983cd24fb0d6963f7d28e17f72
check_equal crc32 "$(printf 123456789 | crc32)" cbf43926
