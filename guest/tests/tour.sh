#!/bin/sh
# What the demo shows of enclaves: one is measured and entered, one seals, two attest each other.
line() { printf '%-10s %s\n' "$1" "$2"; }

# example NAME: runs it, its output in $output; on failure shows that.
example() {
  output=$("/enclaves/$1" 2>&1) && return
  echo "$output"
  echo "FAIL tour/$1"
  return 1
}

if example hello; then
  line enclave "MRENCLAVE $(echo "$output" | sed -n 's/^MRENCLAVE //p')"
  # MRSIGNER is the digest of SIGSTRUCT's MODULUS: 384 bytes from 128 on.
  line signed "MRSIGNER  $(dd if=/enclaves/hello.sig bs=128 skip=1 count=3 2>/dev/null | sha256sum | cut -d ' ' -f 1)"
  line entered "$(echo "$output" | grep -m 1 '^hello')"
fi
if example seal; then
  sealed=$(echo "$output" | sed -n 's/^SEALED //p')
  line sealed "$((${#sealed} / 2)) bytes, opened again; with a bit flipped they were refused"
fi
if example attest; then
  line attested "two enclaves took each other's reports; with a bit flipped one was refused"
fi
