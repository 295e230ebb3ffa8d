"""Whether what several clients were answered could have been answered to one: each request as a whole at some moment between
when it was made and when its answer came (linearizability; Wing and Gong, 1993)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    begin: float
    end: float
    request: tuple
    answer: tuple


def unexplained(events, start, outcomes):
    """None if there is such an order; else (how many could be explained, the states, and the events that no state explains).
    `outcomes(state, event)`: the states in which the event may leave what was asked in `state`; none if its answer is wrong
    there. States can be compared and hashed."""
    events = sorted(events, key=lambda event: event.begin)
    # (how many events are done without a gap, those that are after it, the state)
    nodes, seen, best = [(0, frozenset(), start)], set(), (-1, [], [])
    while nodes:
        node = nodes.pop()
        if node in seen:
            continue
        seen.add(node)
        first, later, state = node
        if first == len(events):
            return None
        waiting = []
        for i in range(first, len(events)):
            if events[i].begin > events[first].end:
                break
            if i not in later:
                waiting.append(i)
        if first + len(later) > best[0]:
            best = first + len(later), [], [events[i] for i in waiting]
        if first + len(later) == best[0]:
            best[1].append(state)
        soonest = min(events[i].end for i in waiting)
        for i in reversed(waiting):
            if events[i].begin > soonest:
                continue
            done, gap = set(later) | {i}, first
            while gap in done:
                done.remove(gap)
                gap += 1
            nodes += [(gap, frozenset(done), after) for after in outcomes(state, events[i])]
    return best
