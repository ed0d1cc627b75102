"""Where the weather stations stand."""

import math
from dataclasses import dataclass

EARTH_RADIUS_KM = 6371.0


@dataclass(frozen=True)
class Station:
    """A station on the map; latitude and longitude are in degrees."""

    name: str
    latitude: float
    longitude: float
    height_m: float = 0.0


def parse_station(line: str) -> Station:
    """Read a line like `Harbour;53.55;9.97;4`."""
    name, latitude, longitude, height = line.strip().split(";")
    return Station(name, float(latitude), float(longitude), float(height))


def distance_km(one: Station, other: Station) -> float:
    """Return the great-circle distance between two stations, by the haversine formula."""
    latitudes = math.radians(one.latitude), math.radians(other.latitude)
    half_height = math.sin((latitudes[1] - latitudes[0]) / 2)
    half_width = math.sin(math.radians(other.longitude - one.longitude) / 2)
    share = half_height**2 + math.cos(latitudes[0]) * math.cos(latitudes[1]) * half_width**2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(share))


def nearest(stations: list[Station], place: Station) -> Station:
    """Return the station next to a place."""
    return min(stations, key=lambda station: distance_km(station, place))
