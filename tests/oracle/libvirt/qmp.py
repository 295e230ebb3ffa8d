"""The real QEMU of a test: what it says to a command line, and what it answers on QMP."""

import json
import subprocess

PATIENCE = 60


def run(qemu, argv, *commands):
    """Starts QEMU stopped, without a display, and ends it by QMP after the commands: (status, answers, standard error)."""
    lines = [{"execute": "qmp_capabilities"}, *commands, {"execute": "quit"}]
    process = subprocess.run([qemu, *argv, "-S", "-display", "none", "-serial", "none", "-monitor", "none", "-qmp", "stdio"],
                             input="".join(json.dumps(line) + "\n" for line in lines), capture_output=True, text=True,
                             timeout=PATIENCE)
    answers = [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]
    answers = [answer for answer in answers if "return" in answer or "error" in answer]
    return process.returncode, answers[1:-1], process.stderr


def cpu_properties(qemu):
    """Each CPU model's name, with the properties that -cpu takes for it."""
    machine = ("-accel", "tcg", "-machine", "none")
    _, (models,), _ = run(qemu, machine, {"execute": "query-cpu-definitions"})
    types = {model["name"]: model["typename"] for model in models["return"]}
    asked = [{"execute": "device-list-properties", "arguments": {"typename": name}} for name in types.values()]
    _, answers, _ = run(qemu, machine, *asked)
    return {name: {p["name"] for p in answer["return"]} for name, answer in zip(types, answers)}
