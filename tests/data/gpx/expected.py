#!/usr/bin/env python3
"""Writes expected.json: what gpxpy reads in the files here, for src/gpx/tests.rs to compare with.

    pip install gpxpy==1.6.2 && ./expected.py

Where a track has a point, the figures are those of all tracks, else those of all routes. gpxpy sums
up neither routes nor raw gain and loss, so those are computed from the points as it parsed them.
Its own smoothed sums stand under `smoothed`, for information.
"""

import json
import re
from datetime import datetime, timezone
from pathlib import Path

import gpxpy
from gpxpy import geo

HERE = Path(__file__).parent


def read(path):
    raw = path.read_bytes()
    # gpxpy takes bytes for UTF-8 whatever they declare.
    encoding = "iso-8859-1" if b"ISO-8859-1" in raw[:100] else "utf-8"
    # And it refuses files whose <fix> is none of GPX's, which nothing here looks at.
    return gpxpy.parse(re.sub(r"<fix>.*?</fix>", "", raw.decode(encoding)))


def millis(time):
    if time is None:
        return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=timezone.utc)
    passed = time - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (passed.days * 86_400 + passed.seconds) * 1000 + passed.microseconds // 1000


def raw_sums(segments):
    gain = loss = 0.0
    for points in segments:
        heights = [point.elevation for point in points if point.elevation is not None]
        for before, after in zip(heights, heights[1:]):
            gain += max(after - before, 0)
            loss += max(before - after, 0)
    return gain, loss


def fastest(segments):
    speeds = [0.0]
    timed = False
    for points in segments:
        for before, after in zip(points, points[1:]):
            if before.time and after.time and after.time > before.time:
                timed = True
                seconds = (after.time - before.time).total_seconds()
                speeds.append(before.distance_2d(after) / seconds)
    return max(speeds) if timed else None


def figures(gpx):
    tracks = [segment.points for track in gpx.tracks for segment in track.segments]
    from_tracks = any(tracks)
    segments = tracks if from_tracks else [route.points for route in gpx.routes]
    points = [point for segment in segments for point in segment]
    distance = gpx.length_2d() if from_tracks else sum(geo.length_2d(s) or 0 for s in segments)
    times = [millis(point.time) for point in points if point.time]
    heights = [point.elevation for point in points if point.elevation is not None]
    gain, loss = raw_sums(segments) if heights else (None, None)
    duration = (max(times) - min(times)) / 1000 if times else None
    smoothed = [geo.calculate_uphill_downhill([p.elevation for p in s]) for s in segments if s]
    return {
        "type": "track" if from_tracks else "route",
        "segments": sum(1 for segment in segments if segment),
        "points": len(points),
        "distance": distance,
        "start": min(times, default=None),
        "end": max(times, default=None),
        "duration": duration,
        "average_speed": distance / duration if duration else None,
        "max_speed": fastest(segments),
        "min_elevation": min(heights, default=None),
        "max_elevation": max(heights, default=None),
        "elevation_gain": gain,
        "elevation_loss": loss,
        "creator": gpx.creator,
        "smoothed": {"uphill": sum(s[0] for s in smoothed), "downhill": sum(s[1] for s in smoothed)},
    }


files = sorted(HERE.glob("*.gpx"))
expected = {path.name: figures(read(path)) for path in files}
(HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
