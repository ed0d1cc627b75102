use std::collections::HashMap;
use std::fmt;

#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    Circle { radius: f64 },
    Square { side: f64 },
}

impl Shape {
    pub fn area(&self) -> f64 {
        match self {
            Shape::Circle { radius } => std::f64::consts::PI * radius * radius,
            Shape::Square { side } => side * side,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", self.area())
    }
}

pub fn group<'a>(shapes: &'a [Shape]) -> HashMap<&'static str, Vec<&'a Shape>> {
    let mut groups: HashMap<&'static str, Vec<&Shape>> = HashMap::new();
    for shape in shapes {
        let name = if let Shape::Circle { .. } = shape { "circle" } else { "square" };
        groups.entry(name).or_default().push(shape);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_right() {
        let square = Shape::Square { side: 2.0 };
        assert_eq!(square.area(), 4.0);
        assert!(group(&[square]).contains_key("square"));
    }
}
