//! What a filter sees: windows of an input as the rows or columns of a matrix.

use ai_link_program::kernels::ConvShape;

/// The windows of one record and group as a matrix `[taps, output pixels]` that is never stored.
pub(in super::super) struct Windows<'a, T> {
    pub(in super::super) shape: &'a ConvShape,
    /// Input planes of the group.
    pub(in super::super) planes: &'a [T],
}

impl<'a, T: Copy + Default> Windows<'a, T> {
    /// Where windows are the input itself: its elements from tap `k` and `pixel` on, and the
    /// distance from one tap to the next.
    pub(super) fn in_place(&self, k: usize, pixel: usize) -> Option<(&'a [T], usize)> {
        let s = self.shape;
        let same = s.kernel == [1, 1] && s.strides == [1, 1] && s.pads == [0; 4];
        let plane = s.input[0] * s.input[1];
        same.then(|| (&self.planes[k * plane + pixel..], plane))
    }

    /// Copies `out.len()` elements of the row of tap `k`, from output pixel `column` on.
    pub(in super::super) fn copy(&self, k: usize, column: usize, out: &mut [T]) {
        let s = self.shape;
        let [height, width] = s.input;
        let [kh, kw] = s.kernel;
        let (channel, ky, kx) = (k / (kh * kw), k / kw % kh, k % kw);
        let plane = &self.planes[channel * height * width..][..height * width];
        let out_width = s.output[1];
        let mut at = 0;
        while at < out.len() {
            let (oy, ox) = ((column + at) / out_width, (column + at) % out_width);
            let run = (out_width - ox).min(out.len() - at);
            let line = &mut out[at..at + run];
            let y = (oy * s.strides[0] + ky * s.dilations[0]).wrapping_sub(s.pads[0]);
            if y < height {
                let source = &plane[y * width..][..width];
                let x = ox * s.strides[1] + kx * s.dilations[1];
                copy_line(source, x, s.pads[1], s.strides[1], line);
            } else {
                line.fill(T::default());
            }
            at += run;
        }
    }

    /// Copies all taps of one output pixel.
    pub(super) fn pixel(&self, pixel: usize, out: &mut [T]) {
        let s = self.shape;
        let [height, width] = s.input;
        let (oy, ox) = (pixel / s.output[1], pixel % s.output[1]);
        let planes = self.planes.chunks_exact(height * width);
        let windows = out.chunks_exact_mut(s.kernel[0] * s.kernel[1]);
        for (plane, window) in planes.zip(windows) {
            for (ky, line) in window.chunks_exact_mut(s.kernel[1]).enumerate() {
                let y = (oy * s.strides[0] + ky * s.dilations[0]).wrapping_sub(s.pads[0]);
                let source = if y < height {
                    &plane[y * width..][..width]
                } else {
                    &[]
                };
                for (kx, tap) in line.iter_mut().enumerate() {
                    let x = (ox * s.strides[1] + kx * s.dilations[1]).wrapping_sub(s.pads[1]);
                    *tap = source.get(x).copied().unwrap_or_default();
                }
            }
        }
    }
}

/// `line[i] = source[x + i * stride - pad]`, zero outside.
fn copy_line<T: Copy + Default>(source: &[T], x: usize, pad: usize, stride: usize, line: &mut [T]) {
    if stride == 1 {
        let before = pad.saturating_sub(x).min(line.len());
        let from = (x + before).saturating_sub(pad).min(source.len());
        let inside = (source.len() - from).min(line.len() - before);
        line[..before].fill(T::default());
        line[before..before + inside].copy_from_slice(&source[from..from + inside]);
        line[before + inside..].fill(T::default());
        return;
    }
    for (i, o) in line.iter_mut().enumerate() {
        let at = (x + i * stride).wrapping_sub(pad);
        *o = source.get(at).copied().unwrap_or_default();
    }
}
