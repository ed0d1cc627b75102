// Draws the temperatures of a day as an SVG path.

export interface Reading {
  station: string;
  minute: number; // since midnight
  celsius: number;
}

export interface Box {
  width: number;
  height: number;
  margin: number;
}

/** Maps a value from one interval to another. */
export function scale(value: number, from: [number, number], to: [number, number]): number {
  const share = (value - from[0]) / (from[1] - from[0]);
  return to[0] + share * (to[1] - to[0]);
}

export function bounds(values: number[]): [number, number] {
  return [Math.min(...values), Math.max(...values)];
}

export function linePath(readings: Reading[], box: Box): string {
  const temperatures = bounds(readings.map((reading) => reading.celsius));
  const points = readings.map((reading) => {
    const x = scale(reading.minute, [0, 24 * 60], [box.margin, box.width - box.margin]);
    const y = scale(reading.celsius, temperatures, [box.height - box.margin, box.margin]);
    return `${x.toFixed(1)},${y.toFixed(1)}`;
  });
  return `M${points.join("L")}`;
}

/** Groups the readings by station. */
export function byStation(readings: Reading[]): Map<string, Reading[]> {
  const groups = new Map<string, Reading[]>();
  for (const reading of readings) {
    const group = groups.get(reading.station) ?? [];
    group.push(reading);
    groups.set(reading.station, group);
  }
  return groups;
}
