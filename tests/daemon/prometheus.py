"""Prometheus' text format, version 0.0.4, read strictly: what a scraper might forgive is an error here."""

import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{((?:{LABEL})(?:,(?:{LABEL}))*)?,?\}})? (\S+)")
ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


class Family:
    def __init__(self, name):
        self.name, self.type, self.help = name, None, None
        self.samples = {}  # by frozenset of (label, value)

    def get(self, **labels):
        return self.samples[frozenset(labels.items())]

    def values(self, **labels):
        """Of all samples that have these labels."""
        return [value for key, value in self.samples.items() if set(labels.items()) <= key]


def parse(text):
    """Families by name. AssertionError says which line is wrong."""
    assert text.endswith("\n"), "the last line has no end"
    families, current = {}, None
    for line in text[:-1].split("\n"):
        if comment := re.fullmatch(rf"# (HELP|TYPE) ({NAME}) (.*)", line):
            kind, name, rest = comment.groups()
            if current is None or current.name != name:
                assert name not in families, f"{name} comes in two places"
                current = families[name] = Family(name)
            assert not current.samples, f"{line}: after its samples"
            field = kind.lower()
            assert getattr(current, field) is None, f"{line}: twice"
            assert kind == "HELP" or rest in ("counter", "gauge", "histogram"), line
            setattr(current, field, rest)
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, f"not a sample: {line!r}"
        assert current is not None, f"{line}: in no family"
        own = [current.name] if current.type != "histogram" else [f"{current.name}_{part}" for part in ("bucket", "sum", "count")]
        assert sample[1] in own, f"{line}: not in its family"
        pairs = [(label, re.sub(r"\\.", lambda m: ESCAPES[m[0]], value)) for label, value in re.findall(LABEL, sample[2] or "")]
        if current.type == "histogram":  # its parts are told apart
            pairs.append(("", sample[1].removeprefix(current.name)))
        labels = frozenset(pairs)
        assert len(dict(pairs)) == len(pairs), f"{line}: a label twice"
        assert labels not in current.samples, f"{line}: twice"
        current.samples[labels] = float(sample.groups()[-1])
    for family in families.values():
        assert family.type and family.help, f"{family.name}: without type or help"
        assert (family.type == "counter") == family.name.endswith("_total"), f"{family.name} is a {family.type}"
        assert family.type == "gauge" or all(value >= 0 for value in family.samples.values()), family.name
    return families
