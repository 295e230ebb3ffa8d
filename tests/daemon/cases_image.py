"""Making an image: what is left when somebody interrupts it."""

import os
import signal
import subprocess
from pathlib import Path

from machine import wait_until

SCRIPT = Path(__file__).parents[2] / "scripts" / "debian-image"

# As mmdebstrap, which has folders of its own where TMPDIR says, and leaves one of them.
MMDEBSTRAP = """#!/bin/sh
mkdir "${TMPDIR:-/tmp}/mmdebstrap.gpghome.test"
touch "$BEGUN"
exec sleep 60
"""


def interrupted(machine):
    """Neither an image nor anything that its tools have made for a while."""
    m = machine()
    folder, tools, temporary = (m.state.parent / name for name in ("images", "tools", "tmp"))
    for one in (folder, tools, temporary):
        one.mkdir()
    for name, text in (("mmdebstrap", MMDEBSTRAP), ("mke2fs", "#!/bin/sh\n")):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    begun = m.state.parent / "begun"
    for number in (signal.SIGINT, signal.SIGTERM):
        build = subprocess.Popen([SCRIPT, folder / "root.img"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                 env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "TMPDIR": str(temporary), "BEGUN": str(begun),
                                      "CLOISTER_BUILD": str(m.state.parent / "build")})
        wait_until(begun.exists, "mmdebstrap to begin")
        begun.unlink()
        os.killpg(build.pid, number)  # as a terminal does
        assert build.wait() != 0
        assert not list(folder.iterdir()) and not list(temporary.iterdir()), (list(folder.iterdir()), list(temporary.iterdir()))


CASES = {"image-interrupted": interrupted}
