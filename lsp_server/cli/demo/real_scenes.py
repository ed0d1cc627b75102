"""Lists the places in the weather stations' programs where the demo with real models asks.

Each is a place where a developer stops and would like to go on, and each has a file of its own. Knows the sample
project's text and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lsp_server.cli.demo.scenes import Scene

STATIONS: Final = Path(__file__).with_name("stations")

REAL_SCENES: Final = (
    Scene(
        title="Python: a body from its name and docstring",
        project=STATIONS,
        file="places.py",
        before='    """Return the great-circle distance between two stations, by the haversine formula."""\n    ',
        cut="""latitudes = math.radians(one.latitude), math.radians(other.latitude)
    half_height = math.sin((latitudes[1] - latitudes[0]) / 2)
    half_width = math.sin(math.radians(other.longitude - one.longitude) / 2)
    share = half_height**2 + math.cos(latitudes[0]) * math.cos(latitudes[1]) * half_width**2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(share))""",
    ),
    Scene(
        title="TypeScript: a call with the file's own names",
        project=STATIONS,
        file="chart.ts",
        before="    const y = scale(",
        cut="reading.celsius, temperatures, [box.height - box.margin, box.margin]);",
    ),
    Scene(
        title="Go: the rest of a switch",
        project=STATIONS,
        file="sensor.go",
        before='	case Temperature:\n		return "°C"\n	',
        cut="""case Humidity:
		return "%"
	case Pressure:
		return "hPa"
	case WindSpeed:
		return "m/s"
	case Rainfall:
		return "mm"
	default:
		return \"\"""",
    ),
    Scene(
        title="Rust: a test of the function above",
        project=STATIONS,
        file="line.rs",
        before="    fn refuses_a_line_without_humidity() {\n        ",
        cut='assert_eq!(parse_line("harbour;4.5"), Err(LineError::MissingField("humidity")));',
    ),
)
# These are decoded by each method: long answers, in which a difference shows.
MEASURED: Final = (REAL_SCENES[0], REAL_SCENES[2], REAL_SCENES[3])
