// A first corpus for the machine description: every key, and each kind of value.
#include <fstream>
#include <string>

int main(int argc, char** argv) {
  if (argc != 2) return 1;
  const std::string hash(64, 'a');
  const std::string seeds[] = {
      "[[package]]\nepc = [{ size = 256 }]\n",
      "keys = \"separate\"\nsilicon = 'gemini-lake'\n[[package]]\n[[package.epc]]\nsize = \"96256 KiB\"\nbase = "
      "0x1_0000_0000\n"
      "node = 1\nfaulty = [0, 7]\n[[package]]\nepc = [{ size = '2 GiB' }]\n",
      "[access]\nconsole = 'group'\ncontrol = 'owner'\n[[package]]\n",
      "[migration]\npeers = [{ name = 'rack2', owner = 'alice', key = "
      "'ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=' }]\n[[package]]\n",
      "launch_control = 'locked'\nlaunch_hash = '" + hash + "'\npackage = [{}]\n",
      "memory_overcommit = 1.5\n[domains]\nstart_at_once = 1\nstop_at_once = 64\n[[package]]\n",
      "launch_control = 'unwritable'\n\"k\\u00e4\" = [1.5, true, 2020-01-01T00:00:00Z, {a.b = \"\"\"x\"\"\"}]\n"};
  int number = 0;
  for (const std::string& seed : seeds) {
    std::ofstream file(std::string(argv[1]) + "/seed" + std::to_string(number++), std::ios::binary);
    file << seed;
    if (!file) return 1;
  }
  return 0;
}
