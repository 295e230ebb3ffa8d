#!/usr/bin/env python3
"""Manual pages equal the programs' options: what --help lists is in the page, at its verb, and the page has no others."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

# Said once for all verbs, in a page's description.
EVERYWHERE = {"--help", "--json", "--version"}


def help_of(program, *verbs):
    done = subprocess.run([program, *verbs, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (program, verbs, done)
    return done.stdout


def options_of(text):
    """The long options that a help text lists, and the short ones beside them."""
    listed = re.findall(r"^  ((?:-\w,)?--[\w-]+|-\w)\b", text, re.M)
    return {option for words in listed for option in words.split(",") if option != "-h"}


def verbs_of(text):
    return re.findall(r"^  ([a-z][a-z-]*) ", text.partition("Subcommands:")[2], re.M)


def plain(roff):
    """A page's text without its fonts."""
    roff = re.sub(r"^\.[BI] ", "", roff, flags=re.M)
    roff = re.sub(r"^\.[BIR]{2} (.*)", lambda m: re.sub(r' "|" | ', "", m.group(1)), roff, flags=re.M)
    return re.sub(r"\\f[BIRP]", "", roff).replace("\\-", "-").replace("\\e", "\\").replace('"', "")


def mentioned(text):
    return set(re.findall(r"(?<![\w-])(--[a-z][\w-]*|-\w)(?![\w-])", text)) - {"-h"}


def entries(page):
    """What a page says of each verb: its paragraph, or the section "OPTIONS OF VERB"."""
    found = {}
    for section in re.split(r"^\.SH ", page, flags=re.M):
        title, _, body = section.partition("\n")
        if match := re.fullmatch(r"OPTIONS OF (\w+)", title):
            found[match.group(1).lower()] = plain(body)
        for entry in re.split(r"^\.TP\n", body, flags=re.M)[1:]:
            head, _, rest = plain(entry).partition("\n")
            for verb in re.sub(r" *\[.*| [A-Z].*| --.*", "", head).split(", "):
                found.setdefault(verb, head + "\n" + rest)
    return found


def check_page(program, page):
    """Compares one program with its page; the faults, as lines."""
    text = page.read_text()
    said, told, faults = entries(text), set(), []

    def look(verbs, help_text):
        options = options_of(help_text)
        told.update(options)
        where = " ".join([program.name, *verbs])
        if verbs and not verbs_of(help_text):
            entry = said.get(" ".join(verbs))
            if entry is None:
                faults.append(f"{page.name}: no entry for '{where}'")
            else:
                faults.extend(f"{page.name}: '{where}' lacks {o}" for o in sorted(options - mentioned(entry) - EVERYWHERE))
        for verb in verbs_of(help_text):
            look([*verbs, verb], help_of(program, *verbs, verb))

    look([], help_of(program))
    in_page = mentioned(plain(text))
    faults += [f"{page.name}: no word of {option}" for option in sorted(told - in_page)]
    faults += [f"{page.name}: {option} is no option of {program.name}" for option in sorted(in_page - told)]
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=Path, required=True)
    parser.add_argument("--pages", type=Path, required=True)
    parser.add_argument("--scripts", type=Path, required=True, help="where the scripts of cloister-guest-image and cloister-debian-image are")
    options = parser.parse_args()
    faults = []
    for page in sorted(options.pages.glob("*.[18]")):
        if page.stem == "cloister-vmm":  # not for starting by hand: what its page names can be asked of it
            for option in mentioned(plain(page.read_text())):
                if subprocess.run([options.programs / page.stem, option], capture_output=True, timeout=60).returncode != 0:
                    faults.append(f"{page.name}: {option} is no option of {page.stem}")
            continue
        script = options.scripts / page.stem.removeprefix("cloister-")
        program = script if script.exists() else options.programs / page.stem
        faults += check_page(program, page)
    print("\n".join(faults) or "all pages equal their programs")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
