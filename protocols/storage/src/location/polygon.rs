//! Areas on the map.

use serde::{Deserialize, Serialize};

/// The most corners of an area.
const MAX_CORNERS: usize = 1000;

/// A position in degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Degrees", into = "Degrees")]
pub struct Position {
    longitude: f64,
    latitude: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Degrees {
    longitude: f64,
    latitude: f64,
}

/// Why numbers are not a position.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "longitude {longitude}, latitude {latitude} is not on Earth: -180 to 180 and -90 to 90 degrees"
)]
pub struct PositionError {
    longitude: f64,
    latitude: f64,
}

/// An area within straight lines on a map of longitude and latitude.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Position>", into = "Vec<Position>")]
pub struct Polygon(Vec<Position>);

/// Why corners do not make an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolygonError {
    /// Too few or too many.
    #[error("an area has 3 to {MAX_CORNERS} corners, not {0}")]
    Corners(usize),
    /// All corners on one line.
    #[error("the corners of the area lie on one line")]
    Flat,
    /// A line that is longer than half of the way around.
    #[error(
        "two neighbouring corners are more than 180 degrees of longitude apart: split the area at \
         the 180th meridian"
    )]
    AcrossTheMeridian,
}

impl Position {
    /// A position in degrees east and north.
    ///
    /// # Errors
    ///
    /// If it is not on Earth.
    pub fn new(longitude: f64, latitude: f64) -> Result<Self, PositionError> {
        if (-180.0..=180.0).contains(&longitude) && (-90.0..=90.0).contains(&latitude) {
            Ok(Self {
                longitude,
                latitude,
            })
        } else {
            Err(PositionError {
                longitude,
                latitude,
            })
        }
    }
}

impl Polygon {
    /// The area within these corners; the last one is joined to the first.
    ///
    /// # Errors
    ///
    /// See [`PolygonError`].
    pub fn new(corners: Vec<Position>) -> Result<Self, PolygonError> {
        if !(3..=MAX_CORNERS).contains(&corners.len()) {
            return Err(PolygonError::Corners(corners.len()));
        }
        let polygon = Self(corners);
        if polygon
            .edges()
            .any(|(a, b)| (a.longitude - b.longitude).abs() > 180.0)
        {
            return Err(PolygonError::AcrossTheMeridian);
        }
        let (first, rest) = (polygon.0[0], &polygon.0[1..]);
        let bends = rest.windows(2).any(|pair| {
            let (a, b) = (pair[0], pair[1]);
            let cross = (a.longitude - first.longitude) * (b.latitude - first.latitude)
                - (b.longitude - first.longitude) * (a.latitude - first.latitude);
            cross != 0.0
        });
        if bends {
            Ok(polygon)
        } else {
            Err(PolygonError::Flat)
        }
    }

    /// Whether a position is inside, by the number of lines that a ray to the east crosses. The edge
    /// that closes the area counts like any other.
    pub fn contains(&self, at: Position) -> bool {
        let crossed = self.edges().filter(|(a, b)| {
            let straddles = (a.latitude > at.latitude) != (b.latitude > at.latitude);
            straddles && {
                let share = (at.latitude - a.latitude) / (b.latitude - a.latitude);
                at.longitude < a.longitude + share * (b.longitude - a.longitude)
            }
        });
        crossed.count() % 2 == 1
    }

    fn edges(&self) -> impl Iterator<Item = (Position, Position)> + '_ {
        let next = self.0.iter().cycle().skip(1);
        self.0.iter().copied().zip(next.copied())
    }
}

impl TryFrom<Vec<Position>> for Polygon {
    type Error = PolygonError;

    fn try_from(corners: Vec<Position>) -> Result<Self, PolygonError> {
        Self::new(corners)
    }
}

impl From<Polygon> for Vec<Position> {
    fn from(polygon: Polygon) -> Self {
        polygon.0
    }
}

impl TryFrom<Degrees> for Position {
    type Error = PositionError;

    fn try_from(degrees: Degrees) -> Result<Self, PositionError> {
        Self::new(degrees.longitude, degrees.latitude)
    }
}

impl From<Position> for Degrees {
    fn from(position: Position) -> Self {
        Self {
            longitude: position.longitude,
            latitude: position.latitude,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn polygon(corners: &[(f64, f64)]) -> Result<Polygon, PolygonError> {
        let corners = corners.iter().map(|(x, y)| Position::new(*x, *y).unwrap());
        Polygon::new(corners.collect())
    }

    #[test]
    fn what_is_no_area_is_refused() {
        assert_eq!(
            polygon(&[(0.0, 0.0), (1.0, 1.0)]),
            Err(PolygonError::Corners(2))
        );
        let line = [(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)];
        assert_eq!(polygon(&line), Err(PolygonError::Flat));
        let wide = [(-170.0, 0.0), (170.0, 0.0), (170.0, 10.0)];
        assert_eq!(polygon(&wide), Err(PolygonError::AcrossTheMeridian));
        assert!(Position::new(f64::NAN, 0.0).is_err());
    }

    /// The edge from the last corner to the first is the one that others forget.
    #[test]
    fn the_closing_edge_counts() {
        let square = polygon(&[(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)]).unwrap();
        for turn in 0..4 {
            let mut corners = square.0.clone();
            corners.rotate_left(turn);
            let square = Polygon::new(corners).unwrap();
            for (x, y, inside) in [(5.0, 5.0, true), (-1.0, 5.0, false), (11.0, 5.0, false)] {
                assert_eq!(
                    square.contains(Position::new(x, y).unwrap()),
                    inside,
                    "{turn} {x}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn boxes_contain_what_lies_between(
            x in -100.0..100.0_f64, y in -80.0..80.0_f64,
            west in -90.0..0.0_f64, east in 1.0..80.0_f64, south in -70.0..0.0_f64, north in 1.0..70.0_f64,
        ) {
            let area = polygon(&[(west, south), (east, south), (east, north), (west, north)]).unwrap();
            let inside = x > west && x < east && y > south && y < north;
            prop_assert_eq!(area.contains(Position::new(x, y).unwrap()), inside);
        }
    }
}
