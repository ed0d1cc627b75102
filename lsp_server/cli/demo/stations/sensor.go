// Package sensor names the quantities that a station measures.
package sensor

import "fmt"

// Kind is a quantity.
type Kind int

const (
	Temperature Kind = iota
	Humidity
	Pressure
	WindSpeed
	Rainfall
)

// Value is one measurement of a quantity.
type Value struct {
	Kind   Kind
	Number float64
}

// Unit returns the unit in which a quantity is measured.
func (k Kind) Unit() string {
	switch k {
	case Temperature:
		return "°C"
	case Humidity:
		return "%"
	case Pressure:
		return "hPa"
	case WindSpeed:
		return "m/s"
	case Rainfall:
		return "mm"
	default:
		return ""
	}
}

// String formats a value with its unit.
func (v Value) String() string {
	return fmt.Sprintf("%.1f %s", v.Number, v.Kind.Unit())
}
