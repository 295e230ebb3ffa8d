#!/bin/sh
# An enclave's life in a few lines, for a reader. Each line is there only if all that it says was checked.
. /tests/lib
sig=/enclaves/hello.sig
done=

# part FROM SIZE: bytes of the SIGSTRUCT (offsets: SDM vol. 3D, table 35-22).
part() { tail -c +$(($1 + 1)) $sig | head -c "$2"; }

# account WORD EXAMPLE TEXT: runs the example; the text, if it ended well.
account() {
  if output=$("/enclaves/$2"); then
    printf '%-10s %s\n' "$1" "$3"
    done="$done $1"
  else
    echo "$output" | grep FAIL
  fi
}

echo "== enclave"
dmesg | sed -n 's/.*sgx: EPC section /section    EPC /p'
printf '%-10s MRENCLAVE %s\n' measured "$(part 960 32 | hexdump -v -e '1/1 "%02x"')"
printf '%-10s MRSIGNER  %s\n' signed "$(part 128 384 | sha256sum | cut -d ' ' -f 1)"
account entered hello "added 40 and 2 inside, and asked the program outside to print a line"
echo "$output" | sed -n 's/^hello from/           hello from/p;T;q'
account sealed seal "a text, with a key that only this enclave on this machine gets; flipped bits are refused"
account attested attest "two enclaves verified each other's report; flipped bits are refused"
account resumed faults "after exceptions inside, which the enclave's own handler put right"
check_equal complete "$done" " entered sealed attested resumed"
