//! Reproducible random numbers for weights and inputs. Nothing here protects anything.

/// SplitMix64 (Steele, Lea, Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014) and Box-Muller.
#[derive(Clone, Debug)]
pub struct Draw {
    state: u64,
    /// Normals come in pairs.
    kept: Option<f32>,
}

impl Draw {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed,
            kept: None,
        }
    }

    fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`.
    pub fn uniform(&mut self) -> f32 {
        (self.word() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f32 {
        if let Some(kept) = self.kept.take() {
            return kept;
        }
        // Above zero, so that its logarithm is finite.
        let u = ((self.word() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        let angle = std::f64::consts::TAU * f64::from(self.uniform());
        let radius = (-2.0 * u.ln()).sqrt();
        self.kept = Some((radius * angle.sin()) as f32);
        (radius * angle.cos()) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut draw = Draw::new(7);
        let n = 100_000;
        let moments = |values: Vec<f32>| {
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / f64::from(n);
            let square = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            (mean, square / f64::from(n) - mean * mean)
        };
        let (mean, variance) = moments((0..n).map(|_| draw.uniform()).collect());
        assert!((mean - 0.5).abs() < 0.01 && (variance - 1.0 / 12.0).abs() < 0.01);
        let (mean, variance) = moments((0..n).map(|_| draw.normal()).collect());
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03);
    }
}
