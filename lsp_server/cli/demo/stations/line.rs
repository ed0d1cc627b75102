//! Reads the lines that a station writes, like `harbour;4.5;81`.

#[derive(Debug, PartialEq)]
pub struct Reading {
    pub station: String,
    pub celsius: f32,
    pub humidity: u8,
}

#[derive(Debug, PartialEq)]
pub enum LineError {
    MissingField(&'static str),
    BadNumber(String),
}

/// Reads station, temperature and humidity; what follows them is ignored.
pub fn parse_line(line: &str) -> Result<Reading, LineError> {
    let mut fields = line.split(';');
    let station = fields.next().ok_or(LineError::MissingField("station"))?;
    let celsius = fields.next().ok_or(LineError::MissingField("celsius"))?;
    let humidity = fields.next().ok_or(LineError::MissingField("humidity"))?;
    Ok(Reading {
        station: station.to_string(),
        celsius: celsius.parse().map_err(|_| LineError::BadNumber(celsius.to_string()))?,
        humidity: humidity.parse().map_err(|_| LineError::BadNumber(humidity.to_string()))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line() {
        let reading = parse_line("harbour;4.5;81").unwrap();
        assert_eq!(reading, Reading { station: "harbour".to_string(), celsius: 4.5, humidity: 81 });
    }

    #[test]
    fn refuses_a_line_without_temperature() {
        assert_eq!(parse_line("harbour"), Err(LineError::MissingField("celsius")));
    }

    #[test]
    fn refuses_a_line_without_humidity() {
        assert_eq!(parse_line("harbour;4.5"), Err(LineError::MissingField("humidity")));
    }
}
