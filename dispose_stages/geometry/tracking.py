"""Persons through a video that shows several, by where and how they move and how they are built.

Nothing is known of their looks. Frame by frame tracks and sightings are matched one to one;
whoever might be either of two waits. What turns out to fit its track badly is taken out of it,
and a track is cut where another body goes on in it. Over the whole clip tracks that end are
linked with tracks that begin (somebody who left comes back, built the same and from where they
can have been), and what waited goes where both sides of a track lead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float64, Int64

from dispose_stages.artifacts import Frame
from dispose_stages.geometry.limbs import unlike
from dispose_stages.geometry.sightings import TRUNK, Sighting, Track, sightings

NOT_FOUND = -1
_STRANGE = 9.0
"""Cost from which a sighting is somebody else."""
_MARGIN = 0.5
"""By which the best match must be better than any other of the track and of the sighting."""
_MISFIT = 4.0
"""Cost from which a sighting does not belong in the track that it is in."""
_CHANGED = 4.0
"""Cost from which the bodies before and after a place in a track are two."""
_CHANGE_WINDOW = 24
"""Sightings on either side that are compared there, at most."""
_PATIENCE = 6
"""Frames for which a track that is unseen goes on at its speed."""
_LEAST_SIGHTINGS = 3
"""Of a track that others are linked with at first."""
_LINK_MOST = 16.0
"""Cost from which a track that begins is a new person."""
_LINK_TURN_COST = 5.0
_LINK_REACH, _LINK_DRIFT = (0.05, 0.03), (0.012, 0.002)
"""Tolerance of place (x, y) at a link, body sizes, and what each frame of the gap adds."""
_LINK_SPEED = 0.05
"""Tolerance of speed, body sizes per frame."""


def follow_persons(
    frames: Sequence[Frame], height: int, width: int
) -> list[Int64[np.ndarray, "f"]]:
    """Row of every person in every frame, -1 where it is not seen.

    Every sighting belongs to one person; the whole-image box of a frame without detection is
    nobody.

    Args:
        frames: All persons of each, best detection first.
        height: Of the frames, pixels.
        width: Of the frames, pixels.

    Returns:
        Persons in order of their first appearance, the best detection first.
    """
    tracks, waiting = _match([sightings(f, n, height, width) for n, f in enumerate(frames)])
    long, short = _by_length(tracks)
    waiting += [each for track in (*long, *short) for each in _misfits(track)]
    waiting += [each for track in short for each in track.seen]
    linked = _link([part for track in long for part in _parts(track)])
    waiting += [each for track in linked for each in _misfits(track)]
    left = _insert(linked, waiting)
    persons = _link([*linked, *(Track([each]) for each in left)])
    persons.sort(key=lambda track: (track.seen[0].frame, track.seen[0].row))
    return [_rows(track, len(frames)) for track in persons]


def _rows(track: Track, frames: int) -> Int64[np.ndarray, "f"]:
    rows = np.full(frames, NOT_FOUND, dtype=np.int64)
    for each in track.seen:
        rows[each.frame] = each.row
    return rows


def _by_length(tracks: Iterable[Track]) -> tuple[list[Track], list[Track]]:
    long: list[Track] = []
    short: list[Track] = []
    for track in tracks:
        (long if len(track.seen) >= _LEAST_SIGHTINGS else short).append(track)
    return long, short


def _match(frames: Sequence[Sequence[Sighting]]) -> tuple[list[Track], list[Sighting]]:
    """Tracks in order of appearance, and the sightings that might belong to several."""
    tracks: list[Track] = []
    live: list[Track] = []
    waiting: list[Sighting] = []
    for number, seen in enumerate(frames):
        live = [track for track in live if number - track.seen[-1].frame <= _PATIENCE]
        costs = np.minimum([track.costs_ahead(seen) for track in live], _STRANGE)
        taken = set()
        for i, j in _assigned(costs):
            if costs[i, j] >= _STRANGE:
                continue
            taken.add(j)
            others = (*np.delete(costs[i], j), *np.delete(costs[:, j], i), _STRANGE)
            if min(others) - costs[i, j] < _MARGIN:
                waiting.append(seen[j])
            else:
                live[i].follow(seen[j])
        new = [Track([each]) for j, each in enumerate(seen) if j not in taken]
        tracks += new
        live += new
    return tracks, waiting


def _assigned(costs: Float64[np.ndarray, "n m"]) -> list[tuple[int, int]]:
    """Pairs of row and column, each in one at most, that cost least together."""
    # Only rows whose person is tracked need it, and it takes as long to load as all the rest.
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

    if not costs.size:
        return []
    first, second = linear_sum_assignment(costs)
    return list(zip(first.tolist(), second.tolist(), strict=True))


def _misfits(track: Track) -> list[Sighting]:
    """Take out of a track what its other sightings do not lead to."""
    if len(track.seen) <= _LEAST_SIGHTINGS:
        return []
    out: list[Sighting] = []
    kept: list[Sighting] = []
    for each in track.seen:
        (out if track.cost_within(each) > _MISFIT else kept).append(each)
    if len(kept) < _LEAST_SIGHTINGS:  # nobody leads anywhere: leave it whole
        return []
    track.keep(kept)
    return out


def _parts(track: Track) -> list[Track]:
    """The track, cut where the body changes; a cut too many is mended by linking."""
    parts, rest = [], [track]
    while rest:
        part = rest.pop()
        if (place := _change(part)) is None:
            parts.append(part)
        else:
            rest += [Track(part.seen[:place]), Track(part.seen[place:])]
    return sorted(parts, key=lambda part: part.seen[0].frame)


def _change(track: Track) -> int | None:
    """Index of the sighting from which on the body is another one."""
    count = len(track.seen)
    places = np.arange(_LEAST_SIGHTINGS, count - _LEAST_SIGHTINGS + 1)
    if not len(places):
        return None
    limbs = np.stack([each.limbs for each in track.seen])
    sums = np.concatenate([np.zeros((1, *limbs.shape[1:])), np.cumsum(limbs, axis=0)])
    before = sums[places] - sums[np.maximum(places - _CHANGE_WINDOW, 0)]
    after = sums[np.minimum(places + _CHANGE_WINDOW, count)] - sums[places]
    costs = unlike(before, after)
    worst = int(np.argmax(costs))
    return int(places[worst]) if costs[worst] >= _CHANGED else None


def _link(tracks: Sequence[Track]) -> list[Track]:
    """Tracks of which the second begins after the first has ended, made one where that fits."""
    count = len(tracks)
    costs = np.full((count, 2 * count), _STRANGE * 1e6)
    for i, first in enumerate(tracks):
        costs[i, count + i] = _LINK_MOST
        for j, second in enumerate(tracks):
            if second.seen[0].frame > first.seen[-1].frame:
                costs[i, j] = _link_cost(first, second)
    after = {i: j for i, j in _assigned(costs) if j < count}
    persons = []
    for head in sorted(set(range(count)) - set(after.values())):
        seen, place = list(tracks[head].seen), after.get(head)
        while place is not None:
            seen += tracks[place].seen
            place = after.get(place)
        persons.append(Track(seen))
    return persons


def _link_cost(first: Track, second: Track) -> float:
    """Of two tracks being one person, who went straight on or turned about while unseen."""
    (last, before), (new, after) = first.ahead(), second.behind()
    gap = new.frame - last.frame
    size = float(np.sqrt(last.size * new.size))
    common = [joint for joint in TRUNK if last.seen[joint] and new.seen[joint]]
    if common:
        step = (new.points[common] - last.points[common]).mean(axis=0)
    else:
        step = (new.box - last.box).reshape(2, 2).mean(axis=0)
    wide = size if common else 2 * size
    looser = 1 + gap * np.divide(_LINK_DRIFT, _LINK_REACH)
    reach, rise = wide * looser * _LINK_REACH
    tolerance = _LINK_SPEED * size
    straight = sum(0.25 * ((step[0] - v[0] * gap) / reach) ** 2 for v in (before, after))
    straight += 0.5 * ((before[0] - after[0]) / tolerance) ** 2
    pace = abs(before[0]), abs(after[0])
    beyond = max(0.0, abs(step[0]) - sum(pace) * gap / 2)
    turned = _LINK_TURN_COST + 0.5 * (beyond / reach) ** 2
    turned += 0.5 * ((pace[0] - pace[1]) / tolerance) ** 2
    elsewhere = float(np.log(looser).sum())  # as in `sightings`: the wider, the less likely
    bodies = float(unlike(first.limbs, second.limbs))
    return float(min(straight, turned) + 0.5 * (step[1] / rise) ** 2) + elsewhere + bodies


def _insert(tracks: Sequence[Track], waiting: Iterable[Sighting]) -> list[Sighting]:
    """Put sightings into tracks that lack their frame; returns those that fit none."""
    by_frame: dict[int, list[Sighting]] = {}
    for each in waiting:
        by_frame.setdefault(each.frame, []).append(each)
    left = []
    for number in sorted(by_frame):
        seen = sorted(by_frame[number], key=lambda each: each.row)
        free = [track for track in tracks if all(s.frame != number for s in track.seen)]
        costs = np.array([[min(t.cost_within(s), _STRANGE) for t in free] for s in seen])
        placed = {i: free[j] for i, j in _assigned(costs) if costs[i, j] < _STRANGE}
        for i, each in enumerate(seen):
            if i in placed:
                placed[i].insert(each)
            else:
                left.append(each)
    return left
