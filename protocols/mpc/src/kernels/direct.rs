//! Convolution row by row, for depthwise layers: every tap adds a scaled, shifted row.

use ai_link_program::kernels::ConvShape;

use super::isa::Vectorised;

/// Adds the convolution of `planes` (one group) with `weights` to `out`.
pub(super) struct Direct<'a> {
    pub(super) shape: &'a ConvShape,
    pub(super) planes: &'a [u64],
    pub(super) weights: &'a [u64],
    pub(super) out: &'a mut [u64],
}

impl Vectorised for Direct<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let s = self.shape;
        let [height, width] = s.input;
        let [kh, kw] = s.kernel;
        let taps = self.planes.len() / (height * width) * kh * kw;
        let pixels = s.output[0] * s.output[1];
        let filters = self.weights.chunks_exact(taps);
        for (out, weights) in self.out.chunks_exact_mut(pixels).zip(filters) {
            for (tap, weight) in weights.iter().enumerate() {
                let (channel, ky, kx) = (tap / (kh * kw), tap / kw % kh, tap % kw);
                let plane = &self.planes[channel * height * width..][..height * width];
                let (stride, pad) = (s.strides[1], s.pads[1]);
                let shift = kx * s.dilations[1];
                // Output columns whose source lies inside the line.
                let first = pad.saturating_sub(shift).div_ceil(stride).min(s.output[1]);
                let end = (width + pad)
                    .saturating_sub(shift)
                    .div_ceil(stride)
                    .min(s.output[1]);
                if first >= end {
                    continue;
                }
                for (oy, line) in out.chunks_exact_mut(s.output[1]).enumerate() {
                    let y = (oy * s.strides[0] + ky * s.dilations[0]).wrapping_sub(s.pads[0]);
                    if y >= height {
                        continue;
                    }
                    let source = &plane[y * width..][..width][first * stride + shift - pad..];
                    let line = &mut line[first..end];
                    if stride == 1 {
                        for (o, v) in line.iter_mut().zip(source) {
                            *o = o.wrapping_add(v.wrapping_mul(*weight));
                        }
                    } else {
                        for (o, v) in line.iter_mut().zip(source.iter().step_by(stride)) {
                            *o = o.wrapping_add(v.wrapping_mul(*weight));
                        }
                    }
                }
            }
        }
    }
}
