"""What the benchmarks share that time pieces of work on this host, in a guest and under TCG: the processor time of each
piece, and the table of their ratios."""

import math
import statistics

from guests import processor_time


class Watch:
    """Follows what the kernels' program prints, and looks at the processor time of the process that it came from."""

    def __init__(self, samples, results):
        self.samples, self.results = samples, results
        self.start = 0

    def __call__(self, text, process):
        words = text.split()
        if words[:1] == ["BEGIN"]:
            self.start = processor_time(process.pid)
        elif words[:1] == ["END"] and len(words) == 4:
            used = processor_time(process.pid) - self.start
            self.samples.setdefault(words[1], []).append(used / int(words[2]))
        elif words[:1] == ["RESULT"] and len(words) == 3:
            self.results.setdefault(words[1], set()).add(words[2])


def figure(samples):
    """(median, distance of the quartiles as a part of it)."""
    if len(samples) < 2:
        return samples[0], 0.0
    lower, middle, upper = statistics.quantiles(samples, n=4, method="inclusive")
    return middle, (upper - lower) / middle


def mean(ratios):
    return math.exp(statistics.fmean(map(math.log, ratios)))


def show(samples, kernels, unit="ns", nanoseconds=1):
    """A row for each kernel: the time of a round on the host in the unit, and the others' as multiples of it, each with its spread."""
    who = list(samples)
    base = who[0]
    print(f"{'':<10}" + "".join(f"{name + (f', {unit}' if name == base else ''):>18}" for name in who) +
          (f"{'cloister/tcg':>14}" if {"cloister", "tcg"} <= set(who) else ""))
    ratios = {name: [] for name in who}
    for kernel in kernels:
        figures = {name: figure(samples[name][kernel]) for name in who}
        row = f"{kernel:<10}"
        for name, (median, spread) in figures.items():
            value = median / nanoseconds if name == base else median / figures[base][0]
            ratios[name].append(value)
            row += f"{value:>11.2f} ±{100 * spread / 2:>3.0f} %"
        if {"cloister", "tcg"} <= set(who):
            row += f"{figures['cloister'][0] / figures['tcg'][0]:>14.2f}"
        print(row)
    print(f"{'mean':<10}{'':>18}" + "".join(f"{mean(ratios[name]):>11.2f}       " for name in who if name != base))
