#!/bin/sh
# What goes into an archive or a compressor comes out of it.
. /tests/lib
cd "$(mktemp -d)" || exit 1
mkdir -p tree/deep/er
cp /bin/busybox tree/deep/program
awk 'BEGIN { for (i = 0; i < 20000; i++) print i, i * i % 977 }' >tree/deep/er/text
ln -s deep/er/text tree/link
sum() { (cd "$1" && find . -type f | sort | xargs sha256sum | sha256sum); }
before=$(sum tree)
tar -cf tree.tar tree && mkdir plain && tar -xf tree.tar -C plain
check_equal tar "$(sum plain/tree)" "$before"
check_equal tar-link "$(readlink plain/tree/link)" deep/er/text
tar -czf tree.tgz tree && mkdir packed && tar -xzf tree.tgz -C packed
check_equal tar-gzip "$(sum packed/tree)" "$before"
text=$(sha256sum <tree/deep/er/text)
for packer in gzip bzip2; do
  check_equal "$packer" "$($packer -c tree/deep/er/text | $packer -dc | sha256sum)" "$text"
done
check_equal smaller "$([ "$(gzip -c tree/deep/er/text | wc -c)" -lt "$(wc -c <tree/deep/er/text)" ] && echo yes)" yes
printf 'x' >>tree.tgz.bad && head -c 1000 tree.tgz >>tree.tgz.bad
check_equal gzip-notices-damage "$(gzip -dc tree.tgz.bad >/dev/null 2>&1 || echo refused)" refused
check_equal base64 "$(base64 tree/deep/er/text | base64 -d | sha256sum)" "$text"
check_equal sort "$(sort -rn tree/deep/er/text | sort -n | sha256sum)" "$text"
