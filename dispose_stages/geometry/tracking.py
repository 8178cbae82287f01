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
from dispose_stages.geometry.sightings import (
    BODY_MOST,
    TRUNK,
    Costs,
    Indices,
    Sightings,
    Track,
    padded,
)

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
    if not any((frame.box_scores > 0).any() for frame in frames):
        return []
    clip = Sightings.of(frames, height, width)
    tracks, waiting = _match(clip)
    long, short = _by_length(tracks)
    waiting += [each for track in (*long, *short) for each in _misfits(track)]
    waiting += [each for track in short for each in track.seen]
    linked = _link(clip, [part for track in long for part in _parts(track)])
    waiting += [each for track in linked for each in _misfits(track)]
    left = _insert(clip, linked, waiting)
    persons = _link(clip, [*linked, *(Track(clip, [each]) for each in left)])
    persons.sort(key=lambda track: track.seen[0])
    return [_rows(track, len(frames)) for track in persons]


def _rows(track: Track, frames: int) -> Int64[np.ndarray, "f"]:
    rows = np.full(frames, NOT_FOUND, dtype=np.int64)
    rows[track.clip.frame[track.seen]] = track.clip.row[track.seen]
    return rows


def _by_length(tracks: Iterable[Track]) -> tuple[list[Track], list[Track]]:
    long: list[Track] = []
    short: list[Track] = []
    for track in tracks:
        (long if len(track.seen) >= _LEAST_SIGHTINGS else short).append(track)
    return long, short


def _match(clip: Sightings) -> tuple[list[Track], list[int]]:
    """Tracks in order of appearance, and the sightings that might belong to several."""
    tracks: list[Track] = []
    live: list[Track] = []
    waiting: list[int] = []
    for seen in np.split(np.arange(len(clip.frame)), np.flatnonzero(np.diff(clip.frame)) + 1):
        number = clip.frame[seen[0]]
        live = [track for track in live if number - track.last_frame() <= _PATIENCE]
        straight, turned, bodies = _costs_ahead(clip, live, seen)
        costs = np.minimum(np.minimum(straight, turned) + bodies, _STRANGE)
        taken = set()
        for i, j in _assigned(costs):
            if costs[i, j] >= _STRANGE:
                continue
            taken.add(j)
            others = (*np.delete(costs[i], j), *np.delete(costs[:, j], i), _STRANGE)
            if min(others) - costs[i, j] < _MARGIN:
                waiting.append(int(seen[j]))
            else:
                live[i].follow(int(seen[j]), turned=bool(turned[i, j] < straight[i, j]))
        new = [Track(clip, [int(each)]) for j, each in enumerate(seen) if j not in taken]
        tracks += new
        live += new
    return tracks, waiting


def _costs_ahead(
    clip: Sightings, tracks: Sequence[Track], seen: Indices
) -> tuple[Float64[np.ndarray, "n m"], Float64[np.ndarray, "n m"], Float64[np.ndarray, "n m"]]:
    """Of each track going on, straight or having turned, and of the bodies being one."""
    count = len(seen)
    if not tracks:
        return (np.zeros((0, count)),) * 3
    motion = clip.speeds(padded([track.ahead() for track in tracks]))
    last = np.array([track.seen[-1] for track in tracks])
    known = np.array([len(track.seen) > 2 for track in tracks])
    straight, turned = clip.ways(
        np.repeat(last, count),
        np.repeat(motion, count, axis=0),
        np.tile(seen, len(tracks)),
        np.repeat(known, count),
    )
    bodies = unlike(np.stack([track.limbs for track in tracks])[:, None], clip.limbs[seen])
    shape = (len(tracks), count)
    return straight.reshape(shape), turned.reshape(shape), np.minimum(bodies, BODY_MOST)


def _assigned(costs: Float64[np.ndarray, "n m"]) -> list[tuple[int, int]]:
    """Pairs of row and column, each in one at most, that cost least together."""
    # Only rows whose person is tracked need it, and it takes as long to load as all the rest.
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

    if not costs.size:
        return []
    first, second = linear_sum_assignment(costs)
    return list(zip(first.tolist(), second.tolist(), strict=True))


def _misfits(track: Track) -> list[int]:
    """Take out of a track what its other sightings do not lead to."""
    if len(track.seen) <= _LEAST_SIGHTINGS:
        return []
    seen = np.array(track.seen)
    fits = track.costs_within(seen) <= _MISFIT
    if fits.sum() < _LEAST_SIGHTINGS:  # nobody leads anywhere: leave it whole
        return []
    track.keep(seen[fits].tolist())
    return [int(each) for each in seen[~fits]]


def _parts(track: Track) -> list[Track]:
    """The track, cut where the body changes; a cut too many is mended by linking."""
    parts, rest = [], [track]
    while rest:
        part = rest.pop()
        if (place := _change(part)) is None:
            parts.append(part)
        else:
            rest += [Track(part.clip, each) for each in (part.seen[:place], part.seen[place:])]
    return sorted(parts, key=lambda part: part.seen[0])


def _change(track: Track) -> int | None:
    """Index of the sighting from which on the body is another one."""
    count = len(track.seen)
    places = np.arange(_LEAST_SIGHTINGS, count - _LEAST_SIGHTINGS + 1)
    if not len(places):
        return None
    limbs = track.clip.limbs[track.seen]
    sums = np.concatenate([np.zeros((1, *limbs.shape[1:])), np.cumsum(limbs, axis=0)])
    before = sums[places] - sums[np.maximum(places - _CHANGE_WINDOW, 0)]
    after = sums[np.minimum(places + _CHANGE_WINDOW, count)] - sums[places]
    costs = unlike(before, after)
    worst = int(np.argmax(costs))
    return int(places[worst]) if costs[worst] >= _CHANGED else None


def _link(clip: Sightings, tracks: Sequence[Track]) -> list[Track]:
    """Tracks of which the second begins after the first has ended, made one where that fits."""
    count = len(tracks)
    costs = np.full((count, 2 * count), _STRANGE * 1e6)
    np.fill_diagonal(costs[:, count:], _LINK_MOST)
    before = clip.speeds(padded([track.ahead() for track in tracks]))
    after = clip.speeds(padded([track.behind() for track in tracks]))
    starts = np.array([track.seen[0] for track in tracks], dtype=np.int64)
    limbs = np.array([track.limbs for track in tracks])
    for i, first in enumerate(tracks):
        later = np.flatnonzero(clip.frame[starts] > first.last_frame())
        ways = _link_costs(clip, first.seen[-1], before[i], starts[later], after[later])
        costs[i, later] = ways + unlike(first.limbs, limbs[later])
    following = {i: j for i, j in _assigned(costs) if j < count}
    persons = []
    for head in sorted(set(range(count)) - set(following.values())):
        seen, place = list(tracks[head].seen), following.get(head)
        while place is not None:
            seen += tracks[place].seen
            place = following.get(place)
        persons.append(Track(clip, seen))
    return persons


def _link_costs(
    clip: Sightings,
    last: int,
    before: Float64[np.ndarray, "2"],
    new: Indices,
    after: Float64[np.ndarray, "n 2"],
) -> Costs:
    """Of one track's end and others' beginnings being one person's.

    The person went straight on or turned about while unseen.

    Args:
        last: Sighting at the end.
        before: Speed there.
        new: Sightings at the beginnings.
        after: Speeds there.
    """
    gap = clip.frame[new] - clip.frame[last]
    common = clip.seen[last, TRUNK] & clip.seen[new][:, TRUNK]
    steps = clip.points[new][:, TRUNK] - clip.points[last, TRUNK]
    count = common.sum(axis=1)
    by_points = (steps * common[..., None]).sum(axis=1) / np.maximum(count, 1)[:, None]
    by_box = (clip.box[new] - clip.box[last]).mean(axis=1)
    step = np.where(count[:, None] > 0, by_points, by_box)
    size = np.sqrt(clip.size[last] * clip.size[new])
    wide = size * np.where(count > 0, 1, 2)
    looser = 1 + np.outer(gap, np.divide(_LINK_DRIFT, _LINK_REACH))
    reach, rise = (wide[:, None] * looser * _LINK_REACH).T
    tolerance = _LINK_SPEED * size
    straight = 0.5 * ((before[0] - after[:, 0]) / tolerance) ** 2
    for speed in (before[0], after[:, 0]):
        straight += 0.25 * ((step[:, 0] - speed * gap) / reach) ** 2
    pace, later_pace = np.abs(before[0]), np.abs(after[:, 0])
    beyond = np.maximum(0.0, np.abs(step[:, 0]) - (pace + later_pace) * gap / 2)
    turned = _LINK_TURN_COST + 0.5 * (beyond / reach) ** 2
    turned += 0.5 * ((pace - later_pace) / tolerance) ** 2
    elsewhere = np.log(looser).sum(axis=1)  # as in `sightings`: the wider, the less likely
    return np.asarray(np.minimum(straight, turned) + 0.5 * (step[:, 1] / rise) ** 2 + elsewhere)


def _insert(clip: Sightings, tracks: Sequence[Track], waiting: Iterable[int]) -> list[int]:
    """Put sightings into tracks that lack their frame; returns those that fit none."""
    by_frame: dict[int, list[int]] = {}
    for each in sorted(waiting):
        by_frame.setdefault(int(clip.frame[each]), []).append(each)
    filled = [set(clip.frame[track.seen].tolist()) for track in tracks]
    left = []
    for number, seen in by_frame.items():
        free = [i for i, frames in enumerate(filled) if number not in frames]
        costs = np.array([tracks[i].costs_within(np.array(seen)) for i in free]).reshape(
            -1, len(seen)
        )
        placed = {
            j: free[i] for i, j in _assigned(np.minimum(costs, _STRANGE)) if costs[i, j] < _STRANGE
        }
        for j, each in enumerate(seen):
            if j in placed:
                tracks[placed[j]].insert(each)
                filled[placed[j]].add(number)
            else:
                left.append(each)
    return left
