//! Index maps: which input element each output element is. One record, row-major.
//!
//! Transpose, slice, pad, expand, gather and the views of a pool are all such maps; for constants they are applied at
//! import, for secret values they become [`Op::Rearrange`](crate::fixed::Op::Rearrange).

use crate::fixed::PAD;

/// Shape of the result and source of each of its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) dims: Vec<usize>,
    pub(crate) map: Vec<u32>,
}

/// Distance of neighbours along each axis.
pub(crate) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for i in (1..dims.len()).rev() {
        strides[i - 1] = strides[i] * dims[i];
    }
    strides
}

/// Axis `i` of the result is axis `perm[i]` of the input. `perm` is a permutation.
pub(crate) fn transpose(dims: &[usize], perm: &[usize]) -> Map {
    let from = strides(dims);
    let out: Vec<usize> = perm.iter().map(|p| dims[*p]).collect();
    let steps: Vec<usize> = perm.iter().map(|p| from[*p]).collect();
    let mut map = vec![0u32];
    for (size, step) in out.iter().zip(&steps) {
        map = map
            .iter()
            .flat_map(|base| (0..*size).map(move |i| base + (i * step) as u32))
            .collect();
    }
    Map { dims: out, map }
}

/// Every axis picks its own list of source positions; `None` is padding. One list per axis of `dims`.
pub(crate) fn per_axis(dims: &[usize], sources: &[Vec<Option<usize>>]) -> Map {
    let steps = strides(dims);
    let mut map = vec![0u32];
    for (list, step) in sources.iter().zip(&steps) {
        map = map
            .iter()
            .flat_map(|base| {
                list.iter().map(move |source| match source {
                    Some(i) if *base != PAD => base + (i * step) as u32,
                    _ => PAD,
                })
            })
            .collect();
    }
    Map {
        dims: sources.iter().map(Vec::len).collect(),
        map,
    }
}

/// Repeats size-1 axes so that `dims` becomes `to`; ranks are equal. `None` when they do not fit.
pub(crate) fn expand(dims: &[usize], to: &[usize]) -> Option<Map> {
    if dims.len() != to.len() {
        return None;
    }
    let sources: Option<Vec<_>> = dims
        .iter()
        .zip(to)
        .map(|(d, t)| match (*d, *t) {
            (d, t) if d == t => Some((0..t).map(Some).collect()),
            (1, t) => Some(vec![Some(0); t]),
            _ => None,
        })
        .collect();
    Some(per_axis(dims, &sources?))
}

/// Whether the map changes nothing.
pub(crate) fn is_identity(map: &[u32], elements: usize) -> bool {
    map.len() == elements && map.iter().enumerate().all(|(i, m)| i == *m as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposes_and_picks() {
        let t = transpose(&[2, 3], &[1, 0]);
        assert_eq!(
            t,
            Map {
                dims: vec![3, 2],
                map: vec![0, 3, 1, 4, 2, 5]
            }
        );
        let p = per_axis(&[2, 3], &[vec![Some(1)], vec![None, Some(2), Some(0)]]);
        assert_eq!(
            p,
            Map {
                dims: vec![1, 3],
                map: vec![PAD, 5, 3]
            }
        );
        let e = expand(&[2, 1], &[2, 2]).map(|m| m.map);
        assert_eq!(e, Some(vec![0, 0, 1, 1]));
        assert_eq!(expand(&[2], &[3]), None);
        assert!(is_identity(&transpose(&[4, 1], &[1, 0]).map, 4));
    }
}
