// A first corpus for disks: tables of both kinds, and menus.
#include <fstream>
#include <string>

#include "unit/boot/bytes_disk.hpp"

int main(int argc, char** argv) {
  using cloister::boot::tests::BytesDisk;
  if (argc != 2) return 1;
  BytesDisk gpt(8192), mbr(8192);
  gpt.put_gpt(2, 128, 128);
  gpt.put_gpt_entry(1024, 3, 9);
  gpt.put_gpt_entry(1024 + 128, 10, 12);
  mbr.put_mbr(0, 0, 0x83, 1, 2);
  mbr.put_mbr(0, 1, 0x05, 4, 10);
  mbr.put_mbr(4, 0, 0x83, 1, 2);
  mbr.put_mbr(4, 1, 0x05, 4, 2);
  mbr.put_mbr(8, 0, 0x83, 1, 2);
  const std::string seeds[] = {
      {gpt.contents().begin(), gpt.contents().end()},
      {mbr.contents().begin(), mbr.contents().end()},
      "set default=\"${saved_entry}\"\nif [ x ]; then\n set a='b c'\nfi\nfunction f {\n linux /no\n}\n"
      "menuentry 'A' --class a $menuentry_id_option 'a' {\n linux /boot/vmlinuz-6.1 root=UUID=1 $a \"x$a\"\n"
      " initrd /boot/a /boot/b\n}\nsubmenu B --id b {\n menuentry C {\n linux /c\n }\n}\n",
      "# GRUB Environment Block\nsaved_entry=1>2\nnext_entry=\n####",
      "6.1.0-41-amd646.1.0-9-amd64"};
  int number = 0;
  for (const std::string& seed : seeds) {
    std::ofstream file(std::string(argv[1]) + "/seed" + std::to_string(number++), std::ios::binary);
    file << seed;
    if (!file) return 1;
  }
  return 0;
}
